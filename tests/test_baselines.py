"""The linear model under hostile frames, and the four baselines built on it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit, logit

from models.linear import LinearModel, fit
from training import baselines
from training.metrics import auc

TELECOM = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mlc_churn" / "mlc_churn.parquet"
RNG = np.random.default_rng(4)
ROWS = 1500


def company() -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.DataFrame(
        {
            "days_since_last_use": RNG.exponential(10, ROWS).round(),
            "mrr": np.exp(RNG.normal(6, 2, ROWS)),
            "nps_last": np.where(RNG.random(ROWS) < 0.7, np.nan, RNG.integers(0, 11, ROWS)),
            "champions_left_180d": (RNG.random(ROWS) < 0.005) * 1.0,
            "constant": 3.0,
            "empty": np.nan,
            "tenure_days": RNG.uniform(0, 900, ROWS),
        },
        index=pd.Index([f"row {number}" for number in range(ROWS)]),
    )
    margin = 0.1 * frame["days_since_last_use"] + 1.5 * frame["nps_last"].isna() - 3
    return frame, (RNG.random(ROWS) < expit(margin.to_numpy())).astype(int)


FRAME, Y = company()
COLUMNS = list(FRAME.columns)
AS_OF = pd.Series(pd.date_range("2024-01-01", periods=24, freq="MS").to_numpy()[np.arange(ROWS) % 24])


def test_it_learns_values_and_gaps_and_drops_what_says_nothing() -> None:
    model = fit(FRAME, Y, columns=COLUMNS)
    assert auc(Y, model.predict(FRAME)) > 0.7
    assert model.predict(FRAME).mean() == pytest.approx(Y.mean(), abs=1e-4)
    terms = {(term.column, term.missing): term.coefficient for term in model.terms}
    assert terms["nps_last", True] > 0.5
    assert terms["days_since_last_use", False] > 0.5
    assert ("champions_left_180d", False) in terms  # rarer than the clipping quantile, and kept
    assert not {"constant", "empty"} & {column for column, _ in terms}


def test_contributions_add_up_and_are_relative_to_the_mean_row() -> None:
    model = fit(FRAME, Y, columns=COLUMNS)
    contributions = model.contributions(FRAME)
    assert list(contributions.columns) == COLUMNS
    assert contributions.index.equals(FRAME.index)
    total = model.base_value + contributions.sum(axis=1).to_numpy()
    np.testing.assert_allclose(total, logit(model.predict(FRAME)), atol=1e-9)
    np.testing.assert_allclose(contributions.mean(), 0, atol=1e-9)


def test_json_gives_back_the_same_bits() -> None:
    model = fit(FRAME, Y, columns=COLUMNS, pieces={"tenure_days": 5})
    again = LinearModel.from_json(model.to_json())
    assert again == model
    assert (again.predict(FRAME) == model.predict(FRAME)).all()
    assert fit(FRAME, Y, columns=COLUMNS, pieces={"tenure_days": 5}).to_json() == model.to_json()
    with pytest.raises(ValueError, match=r"LinearModel\.to_json"):
        LinearModel.from_json('{"format": "other"}')


def test_a_row_alone_equals_the_row_in_its_batch() -> None:
    model = fit(FRAME, Y, columns=COLUMNS)
    batch = model.predict(FRAME)
    mixed = FRAME[COLUMNS[::-1]].assign(other="text")
    for number in range(0, ROWS, 97):
        assert model.predict(mixed.iloc[[number]])[0] == batch[number]


def test_a_fit_does_not_touch_its_frame() -> None:
    before = FRAME.copy(deep=True)
    fit(FRAME, Y, columns=COLUMNS)
    pd.testing.assert_frame_equal(FRAME, before)


def test_values_beyond_the_training_range_are_clipped() -> None:
    model = fit(FRAME, Y, columns=["mrr"])
    far = pd.DataFrame({"mrr": [FRAME["mrr"].max(), 1e300, -1e300, FRAME["mrr"].min()]})
    high, higher, lower, low = model.predict(far)
    assert (high, low) == (higher, lower)


def test_a_weight_is_a_repeated_row() -> None:
    weights = np.random.default_rng(1).integers(0, 3, ROWS)
    full = FRAME[["nps_last"]].assign(flag=FRAME["days_since_last_use"] > 8)  # few values: the same quantiles
    repeated = np.repeat(np.arange(ROWS), weights)
    weighted = fit(full, Y, columns=["flag"], sample_weight=weights).predict(full)
    explicit = fit(full.iloc[repeated], Y[repeated], columns=["flag"]).predict(full)
    np.testing.assert_allclose(weighted, explicit, atol=1e-4)


def test_rows_without_weight_do_not_count() -> None:
    weights = np.where(Y == 1, 0.0, 1.0)
    model = fit(FRAME, Y, columns=COLUMNS, sample_weight=weights)
    assert model.terms == ()
    flag = pd.DataFrame({"flag": np.r_[1.0, np.zeros(ROWS - 1)]})
    assert fit(flag, Y, columns=["flag"], sample_weight=np.r_[0.0, np.ones(ROWS - 1)]).terms == ()


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_a_constant_near_it(label: int) -> None:
    p = fit(FRAME, np.full(ROWS, label), columns=COLUMNS).predict(FRAME)
    assert p == pytest.approx(np.full(ROWS, (label * ROWS + 0.5) / (ROWS + 1)))


@pytest.mark.parametrize("columns", [[], ["constant"], ["empty"], ["constant", "empty"]])
def test_nothing_to_learn_from_gives_the_base_rate(columns: list[str]) -> None:
    model = fit(FRAME, Y, columns=columns)
    assert model.predict(FRAME) == pytest.approx(np.full(ROWS, Y.mean()))
    assert model.contributions(FRAME).shape == (ROWS, len(columns))


@pytest.mark.parametrize("c", [1.0, 1e6])
def test_separable_data_is_fitted_quietly(c: float) -> None:
    frame = pd.DataFrame({"x": np.arange(200.0), "same": np.arange(200.0)})
    y = (np.arange(200) >= 100).astype(int)
    p = fit(frame, y, columns=["x", "same"], c=c).predict(frame)
    assert auc(y, p) == 1
    assert np.isfinite(p).all()


finite = st.floats(-1e12, 1e12) | st.just(float("nan")) | st.integers(0, 2).map(float)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_finite_frame_is_fitted(data: Any) -> None:
    shape = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 4)))
    values = data.draw(arrays.arrays(np.float64, shape, elements=finite))
    y = data.draw(arrays.arrays(np.int8, shape[0], elements=st.integers(0, 1)))
    frame = pd.DataFrame(values, columns=[f"f{number}" for number in range(shape[1])])
    model = fit(frame, y, columns=list(frame.columns))
    p = model.predict(frame)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert LinearModel.from_json(model.to_json()) == model


def test_integer_nullable_boolean_and_all_null_columns_are_read() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
            "flag": [True, False, True, True],
            "nothing": pd.Series([None] * 4, dtype=object),
        }
    )
    assert fit(frame, [0, 1, 0, 1], columns=["nullable", "flag", "nothing"]).predict(frame).shape == (4,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"mrr": np.inf}, "column 'mrr' is infinite in row 'row 0'"),
        ({"mrr": -np.inf}, "column 'mrr' is infinite"),
        ({"mrr": "12 €"}, "column 'mrr' is of type str"),
    ],
)
def test_unreadable_columns_are_refused_by_name(bad: dict[str, Any], message: str) -> None:
    model = fit(FRAME, Y, columns=COLUMNS)
    with pytest.raises(ValueError, match=message):
        model.predict(FRAME.assign(**bad))
    with pytest.raises(ValueError, match=message):
        fit(FRAME.assign(**bad), Y, columns=COLUMNS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"columns": ["mrr", "seats"]}, r"lacks the columns \['seats'\]"),
        ({"columns": ["mrr", "mrr"]}, r"columns names \['mrr'\] twice"),
        ({"pieces": {"seats": 3}}, r"pieces names \['seats'\]"),
        ({"y": Y[:-1]}, "y has shape"),
        ({"y": Y + 1}, "other values than 0 and 1"),
        ({"y": np.where(Y == 1, np.nan, 0)}, "other values than 0 and 1"),
        ({"X": FRAME.iloc[:0], "y": []}, "at least one row"),
        ({"sample_weight": [1.0]}, "sample_weight must be 1500 finite numbers"),
        ({"sample_weight": np.full(ROWS, -1.0)}, "sample_weight"),
        ({"sample_weight": np.zeros(ROWS)}, "sample_weight"),
    ],
)
def test_bad_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    given_arguments: dict[str, Any] = {"X": FRAME, "y": Y, "columns": ["mrr"], **changed}
    with pytest.raises(ValueError, match=message):
        fit(**given_arguments)


def test_tenure_is_a_curve() -> None:
    hump = (np.abs(FRAME["tenure_days"] - 365) < 60).astype(int).to_numpy()
    frame = baselines.inputs(FRAME, AS_OF)
    assert auc(hump, baselines.tenure_calendar(frame, hump).predict(frame)) > 0.95
    assert auc(hump, fit(frame, hump, columns=["tenure_days"]).predict(frame)) < 0.7


def test_the_season_is_learnt_from_whole_years_only() -> None:
    winter = AS_OF.dt.month.isin([12, 1, 2]).astype(int).to_numpy()
    frame = baselines.inputs(FRAME, AS_OF)
    assert auc(winter, baselines.tenure_calendar(frame, winter).predict(frame)) > 0.95
    short = (AS_OF.dt.month != 7).to_numpy()
    model = baselines.tenure_calendar(frame[short], winter[short])
    assert model.columns == ("tenure_days",)


def test_recency_and_health_read_their_own_column_alone() -> None:
    health = pd.Series(np.where(np.arange(ROWS) % 5 == 0, np.nan, 100 - FRAME["days_since_last_use"].to_numpy()))
    frame = baselines.inputs(FRAME, AS_OF, health)
    recency = baselines.recency(frame, Y)
    score = baselines.health_score(frame, Y)
    assert (recency.columns, score.columns) == (("days_since_last_use",), ("health_score",))
    assert auc(Y, recency.predict(frame)) > 0.6
    assert [term.missing for term in score.terms] == [False, True]
    assert baselines.logistic(frame, Y, columns=COLUMNS) == fit(FRAME, Y, columns=COLUMNS)


def test_an_absent_source_gives_the_base_rate() -> None:
    frame = baselines.inputs(FRAME[["mrr"]], AS_OF)
    for baseline in (baselines.recency, baselines.health_score):
        assert baseline(frame, Y).predict(frame) == pytest.approx(np.full(ROWS, Y.mean()))
    assert baselines.tenure_calendar(frame, Y).predict(frame).std() < 0.1


def test_inputs_are_refused_where_they_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"as_of has 2 values, 0 of them null, for 1500 rows"):
        baselines.inputs(FRAME, AS_OF.iloc[:2])
    with pytest.raises(ValueError, match=r"1 of them null"):
        baselines.inputs(FRAME, AS_OF.where(AS_OF.index != 3))
    with pytest.raises(ValueError, match="health_score has 1 values"):
        baselines.inputs(FRAME, AS_OF, pd.Series([50.0]))


@pytest.mark.skipif(not TELECOM.exists(), reason=f"{TELECOM} is not here")
def test_five_folds_on_a_table_that_others_have_fitted() -> None:
    table = pd.read_parquet(TELECOM)
    y = (table.pop("churn") == "yes").to_numpy().astype(int)
    plans = {name: table[name] == "yes" for name in ("international_plan", "voice_mail_plan")}
    frame = table.select_dtypes("number").assign(**plans)
    fold = np.random.default_rng(0).permutation(len(y)) % 5
    p = np.empty(len(y))
    for number in range(5):
        test = fold == number
        p[test] = fit(frame[~test], y[~test], columns=list(frame.columns)).predict(frame[test])
    assert auc(y, p) == pytest.approx(0.824, abs=0.01)  # a plain logistic regression's published figure
