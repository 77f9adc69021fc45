"""Reasons that hold: they add up in a batch, stay when the accounts are drawn again, and risk falls without the leading one."""

import contextlib
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_models_contract import BOOSTERS, FRAME, model

from benchmarks import reasons
from features.catalogue import catalog
from models.batch_contributions import BATCH_ROWS
from models.explain import driver_totals
from models.labels import Outcome
from models.matrix import Matrix
from training.fit import Kind

STEPS = 3
SIZES = (0, 1, 2, *(at + beside for at in (-(-BATCH_ROWS // STEPS), BATCH_ROWS) for beside in (-1, 0, 1)))
WHOLE = Matrix.of(pd.concat([FRAME] * 5, ignore_index=True))


# They add up


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize(("outcome", "kind"), BOOSTERS)
def test_reasons_add_up_in_a_batch_of_any_size(outcome: Outcome, kind: Kind, rows: int) -> None:
    """On both sides of the size at which tables explain; churn's rows are explained at three steps each."""
    found = model(outcome, kind)
    explained = found.explain(Matrix(WHOLE.names, WHOLE.values[:rows]))
    contributions = np.asarray(explained.contributions.values)
    assert len(contributions) == len(explained.raw_score) == len(explained.base_value) == rows
    by_driver = sum(driver_totals(explained, catalog(found.product_features)).values())
    for summed in (contributions.sum(axis=1), by_driver):
        np.testing.assert_allclose(explained.base_value + summed, explained.raw_score, rtol=0, atol=1e-6)
    for row in range(0, rows, 997):
        alone = found.explain(Matrix(WHOLE.names, WHOLE.values[row : row + 1]))
        np.testing.assert_allclose(np.asarray(alone.contributions.values)[0], contributions[row], rtol=0, atol=1e-9)
        np.testing.assert_allclose(alone.base_value[0], explained.base_value[row], rtol=0, atol=1e-9)


def test_the_sizes_are_on_both_sides() -> None:
    assert len(WHOLE) > max(SIZES)
    for explained_at in (1, STEPS):
        assert {rows * explained_at >= BATCH_ROWS for rows in SIZES} == {False, True}


# On a company


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Several drivers lead among this company's riskiest rows, so that agreeing on one says something."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        reasons.main(["--accounts", "220", "--months", "20", "--seed", "3", "--draws", "4", "--json"])
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def test_the_leading_driver_stays_when_the_accounts_are_drawn_again(figures: dict[str, Any]) -> None:
    """Measured: beyond_chance 0.15 here.

    It is not nearer to 1 because a resample lacks a third of so few accounts, and an account's second driver is often nearly as
    large as its first. Reasons that were noise would reach 0.
    """
    assert figures["by_chance"] < 0.5
    assert figures["beyond_chance"] > 0.08
    assert figures["agreement"] > 1.1 * figures["by_chance"]


def test_the_risk_falls_without_the_leading_driver(figures: dict[str, Any]) -> None:
    """Measured: a risk of 0.11 falls by 0.036, without as many other features by 0.005."""
    assert figures["rows"] > 50
    assert figures["fall_leading"] > 0.15 * figures["risk"]
    assert figures["fall_leading"] > 3 * abs(figures["fall_random"])
    assert figures["fell"] > 0.7


@pytest.mark.trust
def test_the_reasons_of_a_larger_company_hold_better() -> None:
    found = reasons.measure(1_000, 24, 1, 10)
    assert found["beyond_chance"] > 0.3
    assert found["fall_leading"] > 5 * abs(found["fall_random"])
    assert found["fell"] > 0.9


# By hand


def test_a_company_too_small_says_so() -> None:
    with pytest.raises(SystemExit, match=r"Simulate|simulate|no account"):
        reasons.main(["--accounts", "3", "--months", "3", "--draws", "1"])


def test_the_leading_driver_raises_most_and_is_no_profile() -> None:
    found = model("churn", "booster")
    contributions = found.explain(FRAME).contributions
    assert isinstance(contributions, pd.DataFrame)
    declared = catalog(found.product_features)
    totals = contributions.T.groupby([declared[name].driver for name in contributions.columns]).sum().T
    totals = totals.drop(columns=reasons.NO_CAUSE)
    told = reasons.leading(found, FRAME)
    assert {True, False} == set((told < 0).tolist())
    for (_, row), place in zip(totals.iterrows(), told, strict=True):
        assert row.max() <= 0 if place < 0 else row.idxmax() == reasons.LEADING[place]


def test_the_same_accounts_lead_to_the_same_drivers_and_chance_is_counted() -> None:
    led = np.array([3, 3, 3, -1])
    assert reasons.by_chance(led, led) == 0.75**2 + 0.25**2
    assert reasons.by_chance(led, np.array([1, 2, 1, 2])) == 0


def test_as_many_other_columns_are_deleted() -> None:
    rng = np.random.default_rng(0)
    own = rng.random((200, 12)) < rng.random((200, 1)) / 2
    others = reasons._as_many(own, rng)
    assert not (own & others).any()
    np.testing.assert_array_equal(others.sum(axis=1), np.minimum(own.sum(axis=1), (~own).sum(axis=1)))
    assert (others.sum(axis=0) > 0).all()
