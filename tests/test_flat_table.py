"""benchmarks.flat_table: how a table is read, what is fitted on which rows, and known signal found in a small one."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import flat_table
from benchmarks.flat_table import FOLDS, OURS, booster, booster_tuned, flat, measure
from models.booster import BoosterSettings
from training import metrics
from training.tuning import RANGES, search_space

ROWS = 400


def small(seed: int = 0) -> pd.DataFrame:
    """Customers who leave where calls are many or the plan is the middle one of three: no line tells the latter by its code."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"calls": rng.integers(0, 10, ROWS), "plan": rng.choice(["a", "b", "c"], ROWS), "noise": rng.random(ROWS)}
    )
    leaves = (table["calls"] > 7) | (table["plan"] == "b")
    return table.astype({"plan": "category"}).assign(left=np.where(leaves ^ (rng.random(ROWS) < 0.05), "yes", "no"))


TABLE = flat(small(), "left", "yes")


def test_text_is_the_number_of_its_value_in_sorted_order_and_a_gap_is_a_gap() -> None:
    plan = pd.Categorical(["pro", None, "basic", "pro"], categories=["pro", "basic"])
    found = flat(pd.DataFrame({"plan": plan, "left": ["yes", "no", "no", "no"]}), "left", "yes")
    np.testing.assert_array_equal(found.coded["plan"], [1, np.nan, 0, 1])
    assert found.one_hot[["plan_basic", "plan_pro"]].to_numpy().tolist() == [[0, 1], [0, 0], [1, 0], [0, 1]]
    assert found.y.tolist() == [1, 0, 0, 0]
    assert "left" not in {*found.coded, *found.one_hot}


def test_known_signal_is_found_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    found = measure(TABLE, repeats=2, progress=lambda done, total: told.append((done, total)))
    assert json.loads(json.dumps(found)) == found
    assert (found["rows"], found["positives"], found["repeats"]) == (ROWS, TABLE.y.sum(), 2)
    assert told == [(done, 2 * FOLDS) for done in range(1, 2 * FOLDS + 1)]
    for name, figure in found["auc"].items():
        assert 0.85 < figure["mean"] < 0.97, name  # 5 % of the labels are wrong
        assert figure["mean"] == pytest.approx(np.mean(figure["by_repeat"]))
        assert figure["sd"] == pytest.approx(np.std(figure["by_repeat"], ddof=1))
    for name, lead in found["ahead"].items():
        assert lead["mean"] == pytest.approx(found["auc"][OURS]["mean"] - found["auc"][name]["mean"])
    flat_table.out.print(flat_table.told(found))
    printed = capsys.readouterr().out
    assert all(f"{figure['mean']:.4f}" in printed for figure in found["auc"].values())


def test_labels_that_tell_nothing_are_not_foretold() -> None:
    """Nothing of a held-out fold is seen: on shuffled labels the AUC is that of a coin."""
    shuffled = flat_table.Flat(TABLE.coded, TABLE.one_hot, np.random.default_rng(1).permutation(TABLE.y))
    found = measure(shuffled, repeats=1)
    assert all(0.4 < figure["mean"] < 0.6 and figure["sd"] is None for figure in found["auc"].values())


def test_tuning_searches_the_ranges_of_training_and_starts_from_the_defaults() -> None:
    assert search_space(BoosterSettings()).keys() == RANGES.keys()
    half = ROWS // 2
    known, asked = flat_table._rows(TABLE.coded[:half], TABLE.y[:half]), TABLE.coded[half:]
    defaults = booster(known, asked, seed=0)
    np.testing.assert_array_equal(booster_tuned(known, asked, seed=0, trials=1), defaults)
    tuned = booster_tuned(known, asked, seed=0, trials=3)
    assert metrics.auc(TABLE.y[half:], tuned) > 0.85
    np.testing.assert_array_equal(booster_tuned(known, asked, seed=0, trials=3), tuned)


def test_without_the_data_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_table, "FILE", flat_table.FILE.with_name("none.parquet"))
    with pytest.raises(SystemExit, match=r"none\.parquet is not there"):
        flat_table.main([])
