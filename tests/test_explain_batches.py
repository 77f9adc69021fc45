"""Many rows explained from tables: LightGBM's own values, whatever is missing, and never a wrong one; and benchmarks.explain."""

import json
import tracemalloc
from functools import cache
from itertools import combinations
from math import factorial

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import explain
from models import batch_contributions
from models.batch_contributions import BATCH_ROWS, BatchExplainer, Unreadable, batch_explainer, shapley
from models.booster import BoosterModel
from models.matrix import FloatArray, Matrix

COLUMNS = 12
#: Beside LightGBM's own values; both sum the same addends in double precision.
CLOSE = {"rtol": 0, "atol": 1e-12}


def table(rows: int, seed: int, missing: float) -> FloatArray:
    """Whole numbers, bells and heavy tails; in the later two thirds of the columns values are missing, in the last nearly all."""
    rng = np.random.default_rng(seed)
    values = np.hstack(
        [
            rng.poisson(2, (rows, COLUMNS // 3)).astype(np.float64),
            rng.normal(0, 1, (rows, COLUMNS // 3)),
            rng.standard_cauchy((rows, COLUMNS // 3)) * 100,
        ]
    )
    gaps = rng.random(values.shape) < missing
    gaps[:, : COLUMNS // 3] = False
    gaps[:, -1] = rng.random(rows) < 0.97
    return np.where(gaps, np.nan, values)


@cache
def booster(leaves: int = 7, rounds: int = 12, seed: int = 0, missing: float = 0.4, **parameters: float | bool) -> lgb.Booster:
    """One whose labels hang on values, on pairs of them, and on what is missing."""
    values = table(1_500, seed, missing)
    known = np.nan_to_num(values)
    margin = known[:, 0] - known[:, 4] * known[:, 5] + 2 * np.isnan(values[:, 6]) - np.isnan(values[:, 9]) - 1
    labels = np.random.default_rng(seed + 1).random(len(values)) < 1 / (1 + np.exp(-margin))
    chosen = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 5, "learning_rate": 0.2, "verbose": -1}
    constraints = {"monotone_constraints": [1] + [0] * (COLUMNS - 1)}
    settings = chosen | {"num_threads": 1, "seed": seed, "feature_fraction": 0.8} | constraints | parameters
    return lgb.train(settings, lgb.Dataset(values, labels.astype(float)), num_boost_round=rounds)


def told(of: lgb.Booster, values: FloatArray) -> tuple[FloatArray, float]:
    """LightGBM's own contributions, and its base value."""
    found = np.asarray(of.predict(values, pred_contrib=True, num_threads=1))
    return found[:, :-1], float(found[0, -1])


def looked_up(of: lgb.Booster, values: FloatArray) -> FloatArray:
    """The same from the tables; a miss of a margin would be LightGBM's answer, so there must be none."""
    explainer = BatchExplainer(of)
    found = explainer.contributions(values, told(of, values[:1])[1], margins(of, values))
    np.testing.assert_array_equal(found, explainer._looked_up(values).T)
    return found


def margins(of: lgb.Booster, values: FloatArray) -> FloatArray:
    return np.asarray(of.predict(values, raw_score=True, num_threads=1))


def at_the_thresholds(of: lgb.Booster, values: FloatArray) -> FloatArray:
    """Rows that stand at the splits themselves, and a hair beside them."""
    splits = of.trees_to_dataframe().dropna(subset=["split_feature"])
    places = splits["split_feature"].str.removeprefix("Column_").astype(int).to_numpy()
    rows = np.tile(values[: len(splits)], (3, 1))[: 3 * len(splits)]
    for number, (place, threshold) in enumerate(zip(places, splits["threshold"].astype(float), strict=True)):
        beside = (threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf))
        rows[3 * number : 3 * number + 3, place] = beside
    return rows


# The same values


@pytest.mark.parametrize(("leaves", "rounds"), [(2, 5), (7, 40), (15, 20), (31, 10), (120, 3)])
@pytest.mark.parametrize("missing", [0.0, 0.1, 0.9])
def test_the_values_are_lightgbms(leaves: int, rounds: int, missing: float) -> None:
    found = booster(leaves, rounds, missing=missing)
    values = np.vstack([table(1_500, 5, 0.0), table(1_500, 6, 0.5), table(500, 7, 1.0)])
    values[::7, : COLUMNS // 3] = np.nan  # never missing in training: LightGBM reads 0
    values = np.vstack([values, at_the_thresholds(found, values), np.zeros((1, COLUMNS)), np.full((1, COLUMNS), np.nan)])
    np.testing.assert_allclose(looked_up(found, values), told(found, values)[0], **CLOSE)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_row_is_explained_otherwise(data: st.DataObject) -> None:
    found = booster(
        data.draw(st.sampled_from([3, 7, 20])), 10, data.draw(st.integers(0, 3)), data.draw(st.sampled_from([0.0, 0.4]))
    )
    number = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 8).map(float) | st.just(np.nan)
    rows = data.draw(st.lists(st.lists(number, min_size=COLUMNS, max_size=COLUMNS), min_size=1, max_size=6))
    values = np.array(rows)
    np.testing.assert_allclose(looked_up(found, values), told(found, values)[0], **CLOSE)


def test_all_the_ways_lightgbm_treats_a_missing_value_were_met() -> None:
    """Or the tests above would have looked at less than they say."""
    splits = booster(7, 40).trees_to_dataframe().dropna(subset=["split_feature"])
    met = set(zip(splits["missing_type"], splits["missing_direction"], strict=True))
    assert met == {("NaN", "left"), ("NaN", "right"), ("None", "left")}


def test_a_booster_that_learned_nothing_explains_nothing() -> None:
    values = table(300, 1, 0.2)
    never = lgb.train({"verbose": -1, "min_data_in_leaf": 400}, lgb.Dataset(values, values[:, 0]), num_boost_round=3)
    assert not looked_up(never, values).any()


def test_a_row_is_explained_alike_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    values = table(3_001, 3, 0.3)
    of = booster(15)
    base, explainer, known = told(of, values)[1], BatchExplainer(of), margins(of, values)
    whole = explainer.contributions(values, base, known)
    order = np.random.default_rng(0).permutation(len(values))
    np.testing.assert_array_equal(explainer.contributions(values[order], base, known[order]), whole[order])
    np.testing.assert_array_equal(BatchExplainer(of).contributions(values, base, known), whole)
    for rows in (1, 700, 3_000):
        monkeypatch.setattr(batch_contributions, "_BLOCK_ROWS", rows)
        some = slice(None, 50 if rows == 1 else None)
        np.testing.assert_array_equal(explainer.contributions(values[some], base, known[some]), whole[some])


def test_memory_beyond_the_answer_is_a_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_contributions, "_BLOCK_ROWS", 1_000)
    of, values = booster(), table(40_000, 3, 0.3)
    base, explainer, known = told(of, values[:1])[1], BatchExplainer(of), margins(of, values)
    explainer.contributions(values[:10], base, known[:10])  # the tables are made
    tracemalloc.start()
    found = explainer.contributions(values, base, known)
    beyond = tracemalloc.get_traced_memory()[1] - found.nbytes
    tracemalloc.stop()
    assert beyond < 6 * values[:1_000].nbytes < found.nbytes / 5


# Nothing wrong gets out


@pytest.mark.parametrize("damage", [1e-5, np.nan])
def test_a_batch_that_misses_a_margin_is_explained_by_lightgbm(damage: float, caplog: pytest.LogCaptureFixture) -> None:
    of, values = booster(), table(2_000, 4, 0.3)
    expected, base = told(of, values)
    damaged = BatchExplainer(of)
    part = damaged._trees[3].parts[0]
    part.table[0, -1] += damage  # whoever goes left everywhere
    found = damaged.contributions(values, base, margins(of, values))
    np.testing.assert_array_equal(found, expected)
    [record] = caplog.records
    rows, missed = record.args
    assert rows == len(values)
    assert 0 < missed < rows


def test_margins_of_another_model_are_not_explained_by_the_tables() -> None:
    of, values = booster(), table(2_000, 4, 0.3)
    expected, base = told(of, values)
    other = margins(booster(seed=1), values)
    np.testing.assert_array_equal(BatchExplainer(of).contributions(values, base, other), expected)


def unreadable() -> dict[str, lgb.Booster]:
    values, labels = table(1_500, 0, 0.4), np.random.default_rng(0).random(1_500) < 0.4
    values[:, 0] = np.abs(values[:, 0]) % 5
    labels |= values[:, 0] == 3
    by_category = lgb.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        lgb.Dataset(values, labels.astype(float), categorical_feature=[0]),
        num_boost_round=5,
    )
    text = booster().model_to_string()
    start = text.index("\nleaf_count=") + len("\nleaf_count=")
    count = text[start:].split(" ", 1)[0]
    # As many characters as before: LightGBM finds its trees by their sizes.
    unreached = lgb.Booster(model_str=f"{text[:start]}{'0' * len(count)}{text[start + len(count) :]}")
    return {"'=='": by_category, "'Zero'": booster(zero_as_missing=True), "no training row": unreached}


@pytest.mark.parametrize("why", ["'=='", "'Zero'", "no training row"])
def test_what_tables_cannot_tell_lightgbm_explains(why: str, caplog: pytest.LogCaptureFixture) -> None:
    of, values = unreadable()[why], np.tile(table(1_000, 2, 0.3), (5, 1))
    model = BoosterModel(tuple(f"f{number}" for number in range(COLUMNS)), of.model_to_string())
    found = model.addends(Matrix(model.columns, values))
    assert why in caplog.records[0].getMessage()
    np.testing.assert_allclose(found, told(of, values)[0], **CLOSE)


def test_a_leaf_too_deep_for_its_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_explainer(booster(120, 3)) is not None
    monkeypatch.setattr(batch_contributions, "_MOST_SPLITS", 9)
    with pytest.raises(Unreadable, match=r"a leaf lies under 1\d splits, more than 9"):
        BatchExplainer(booster(120, 3))


# Who explains


@pytest.mark.parametrize("rows", [0, 1, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1])
def test_batches_go_by_the_tables_and_the_rest_by_lightgbm(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BoosterModel(tuple(f"f{number}" for number in range(COLUMNS)), booster().model_to_string())
    asked: list[int] = []
    contributions = BatchExplainer.contributions

    def watched(self: BatchExplainer, values: FloatArray, base_value: float, margins: FloatArray) -> FloatArray:
        asked.append(len(values))
        return contributions(self, values, base_value, margins)

    monkeypatch.setattr(BatchExplainer, "contributions", watched)
    values = table(rows, 2, 0.3)
    found = model.addends(Matrix(model.columns, values))
    assert asked == ([rows] if rows >= BATCH_ROWS else [])
    assert found.shape == (rows, COLUMNS)
    gap = model.base_value + found.sum(axis=1) - model.raw_score(Matrix(model.columns, values))
    assert np.abs(gap).max(initial=0) < 1e-6
    if rows:
        np.testing.assert_allclose(found, told(model.booster, values)[0], **CLOSE)
        known = model.raw_score(Matrix(model.columns, values))
        np.testing.assert_array_equal(model.addends(Matrix(model.columns, values), known), found)


# The value of a feature


def by_definition(reach: FloatArray, passed: FloatArray) -> list[float]:
    """Shapley's sum over all coalitions."""
    features = range(len(reach))

    def worth(known: tuple[int, ...]) -> float:
        return float(np.prod([passed[i] if i in known else reach[i] for i in features]))

    found = []
    for feature in features:
        others = [other for other in features if other != feature]
        total = 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(reach))
            total += weight * sum(worth((*known, feature)) - worth(known) for known in combinations(others, size))
        found.append(total)
    return found


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=7))
def test_a_features_value_is_shapleys(features: list[tuple[float, bool]]) -> None:
    reach, passed = (np.array(each) for each in zip(*features, strict=True))
    found = shapley(reach[:, None], passed[:, None]).ravel()
    np.testing.assert_allclose(found, by_definition(reach, passed.astype(float)), rtol=0, atol=1e-12)
    assert found.sum() == pytest.approx(passed.prod() - reach.prod(), abs=1e-12)


# The benchmark


def test_the_benchmark_sets_everybody_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    explain.main(["--accounts", "4200", "--fitted", "400", "--repeats", "1", "--rounds", "6", "--json"])
    rows = json.loads(capsys.readouterr().out)
    batches, [predicted, churn], single = rows[:3], rows[3:5], rows[5:]
    assert "predicted and explained" in predicted["row"]
    assert [row["row"].rpartition(", ")[2] for row in batches] == list(explain.PEERS)
    assert [row["row"].rpartition(", ")[2] for row in single] == list(explain.SINGLE)
    assert "churn over its 3 steps" in churn["row"]
    for row in rows:
        assert row.keys() == {"row", "ours", "peer", "ratio", "peak_mib", "peer_peak_mib", "largest_difference"}
        assert row["ratio"] == pytest.approx(row["peer"] / row["ours"])
        assert row["ours"] > 0
        assert row["largest_difference"] <= (1e-4 if "woodelf" in row["row"] else 1e-9)


def test_drawn_accounts_have_gaps_and_some_leave() -> None:
    frame = explain.draw(400, 0)
    shares = frame.isna().mean()
    assert 0.2 < (shares > 0).mean() < 0.5
    assert shares.max() > 0.7
    base_rate = explain.fit(frame, explain.DEFAULTS.model_copy(update={"rounds": 2})).base_rates[90]
    assert 0.03 < base_rate < 0.3
