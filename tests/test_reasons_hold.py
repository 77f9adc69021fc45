"""Reasons that hold: they add up, stay when accounts are drawn again, and the risk falls without the leading one."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from test_models_contract import BOOSTERS, FRAME, model

from benchmarks import reasons
from benchmarks.known_truth import KnownCompany, simulated
from benchmarks.reasons import Told
from features.catalogue import catalog
from models.batch_contributions import BATCH_ROWS
from models.booster import BoosterSettings
from models.explain import driver_totals
from models.labels import Outcome
from models.matrix import Matrix
from training.fit import Kind
from training.settings import TrainingSettings

#: So that a fit takes a second.
SETTINGS = TrainingSettings(booster=BoosterSettings(rounds=100, learning_rate=0.1))
STEPS = 3


# They add up


@pytest.mark.parametrize(
    "rows", [0, 1, 2, BATCH_ROWS // STEPS, BATCH_ROWS // STEPS + 1, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1]
)
@pytest.mark.parametrize(("outcome", "kind"), BOOSTERS)
def test_reasons_add_up_in_a_batch_of_any_size(outcome: Outcome, kind: Kind, rows: int) -> None:
    """On both sides of the size at which the tables explain, which for churn is counted in rows of steps."""
    found, whole = model(outcome, kind), Matrix.of(pd.concat([FRAME] * 5, ignore_index=True))
    table = Matrix(whole.names, whole.values[:rows])
    explained = found.explain(table)
    contributions = np.asarray(explained.contributions.values)
    assert len(contributions) == len(explained.raw_score) == len(explained.base_value) == rows
    gap = explained.base_value + contributions.sum(axis=1) - explained.raw_score
    assert np.abs(gap).max(initial=0) < 1e-6
    totals = driver_totals(explained, catalog(found.product_features))
    by_driver = explained.base_value + sum(totals.values())
    np.testing.assert_allclose(by_driver, explained.raw_score, rtol=0, atol=1e-6)
    for row in range(0, rows, 997):
        alone = found.explain(Matrix(whole.names, whole.values[row : row + 1]))
        np.testing.assert_allclose(np.asarray(alone.contributions.values)[0], contributions[row], rtol=0, atol=1e-9)
        np.testing.assert_allclose(alone.base_value[0], explained.base_value[row], rtol=0, atol=1e-9)


# On a company


@pytest.fixture(scope="module")
def company() -> Iterator[KnownCompany]:
    with simulated(160, 18, 1) as known:
        yield known


@pytest.fixture(scope="module")
def told(company: KnownCompany) -> Told:
    return reasons.tell(company, SETTINGS)


def test_the_leading_driver_stays_when_the_accounts_are_drawn_again(told: Told) -> None:
    """A resample lacks a third of the accounts, and several drivers of an account are often nearly as large.

    Measured: … A model whose reasons were noise would agree by chance alone (0).
    """
    found = reasons.stability(told, SETTINGS, draws=4, seed=0)
    assert found["beyond_chance"] > 0.25
    assert found["agreement"] > found["by_chance"] + 0.15


def test_the_risk_falls_without_the_leading_driver(told: Told) -> None:
    found = reasons.deletion(told, draws=10, seed=0)
    assert found["rows"] > 20
    assert found["fall_leading"] > 0.1 * found["risk"]
    assert found["fall_leading"] > 3 * abs(found["fall_random"])
    assert found["fell"] > 0.9
