"""The learning curve's draws, and what it measures of each."""

from typing import Any

import ibis
import numpy as np
import pytest

import simulation
from benchmarks.learning_curve import MODELS, TASK, draws, rows
from models.booster import BoosterSettings
from training.dataset import Dataset, build_dataset
from training.exposure import Plays
from training.gate import ENOUGH
from training.period import Period, period
from training.settings import TrainingSettings

SETTINGS = TrainingSettings(outcomes=("churn",), booster=BoosterSettings(rounds=10))


@pytest.fixture(scope="module")
def measured() -> tuple[Dataset, Period]:
    company = simulation.simulate(120, 18, seed=5)
    tables = {name: ibis.memtable(frame) for name, frame in company.tables.items()}
    facts: dict[str, Any] = {"data_until": company.data_until, "settings": SETTINGS}
    data = build_dataset(tables, horizons=[TASK.horizon_days], **facts)
    return data, period(tables, data, TASK, plays=Plays(tables), **facts)


def test_draws_are_of_whole_accounts_that_left_often_enough(measured: tuple[Dataset, Period]) -> None:
    _, cut = measured
    found = list(draws(cut, 60, 3))
    assert len({frozenset(part.known.accounts) for part in found}) == 3
    for part in found:
        chosen = set(part.known.accounts)
        assert len(chosen) == 60
        assert part.known.positive_accounts() >= ENOUGH
        assert len(part.known) == np.isin(cut.known.accounts.astype(str), list(chosen)).sum()
        assert part.test is cut.test
    assert len(next(draws(cut, 5000, 1)).known) == len(cut.known)


def test_every_model_is_asked_about_the_same_rows(measured: tuple[Dataset, Period]) -> None:
    (row,) = rows(*measured, {60: 2}, SETTINGS)
    assert row["draws"] == 2
    assert all(0 < row[name] < 2 for name in MODELS)
    assert row["worst"] >= row["ours"] - min(row["logistic"], row["health"]) - 1e-12
