"""The landmark hazard's rows: which questions are asked of the past, and what each of them knows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.hazard import CURVE_DAYS, MONTH_DAYS, STEP, Landmarks, at_step, expand, step_count, step_length

EVERYTHING = 1e9  # a far_share that thins nothing
DAY = pd.Timedelta(days=1)
ORIGIN = pd.Timestamp("2024-01-01")


@pytest.mark.parametrize(
    ("horizon", "step", "count"),
    [(30, 30, 12), (90, 30, 12), (360, 30, 12), (14, 14, 26), (45, 45, 8), (1, 1, 360), (100, 100, 4)],
)
def test_steps_are_thirty_days_or_the_horizon(horizon: int, step: int, count: int) -> None:
    assert step_length(horizon) == step
    assert step_count(step) == count
    assert CURVE_DAYS <= count * step < CURVE_DAYS + step


def _timeline(rows: list[tuple[float, float | None, float]]) -> pd.DataFrame:
    """Rows of (T, churn or None after T, end of knowledge after T), in days."""
    start = [ORIGIN + t * DAY for t, _, _ in rows]
    columns = {
        "as_of": start,
        "churn_at": [pd.NaT if churn is None else at + churn * DAY for at, (_, churn, _) in zip(start, rows, strict=True)],
        "known_until": [at + known * DAY for at, (_, _, known) in zip(start, rows, strict=True)],
    }
    return pd.DataFrame({name: pd.Series(values, dtype="datetime64[us]") for name, values in columns.items()})


def _frame(rows: int) -> pd.DataFrame:
    names = ("days_to_renewal", "days_to_notice_deadline", "term_months")
    return pd.DataFrame({"number": np.arange(rows, dtype=float)} | dict.fromkeys(names, np.nan), index=range(rows))


def _expand(rows: list[tuple[float, float | None, float]], horizon: int, **options: Any) -> Landmarks:
    chosen = {"rng": np.random.default_rng(0), "far_share": EVERYTHING} | options
    return expand(_frame(len(rows)), _timeline(rows), horizon_days=horizon, **chosen)


def _slowly(rows: list[tuple[float, float | None, float]], horizon: int) -> set[tuple[int, int, float]]:
    """Walk one account at a time through its steps, until it leaves or nothing more is settled: (row, step, label)."""
    length = 30 if horizon % 30 == 0 else horizon
    asked = set()
    for number, (_, churn, known) in enumerate(rows):
        step = 0
        while step * length < 360 and (step + 1) * length <= known:
            left = churn is not None and churn < (step + 1) * length
            asked.add((number, step, float(left)))
            if left:
                break
            step += 1
    return asked


quarter_days = st.integers(0, 4 * 500).map(lambda quarters: quarters / 4)
histories = st.lists(
    st.tuples(quarter_days, st.none() | quarter_days, quarter_days.map(lambda days: days - 40)), min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(histories, st.sampled_from([30, 90, 180, 360, 14, 45, 7]))
@example([(0, 30, 60)], 90)  # leaves at the very end of a step: the next step's churn
@example([(0, 0, 30)], 30)  # leaves at once, known to the very end of the step
@example([(0, 10, 29.75)], 90)  # left, but the step is not settled: no row, however well the churn is known
@example([(0, None, -40)], 90)
def test_the_rows_are_those_of_a_walk_through_each_account(rows: list[tuple[float, float | None, float]], horizon: int) -> None:
    found = _expand(rows, horizon)
    steps = found.frame[STEP].to_numpy().astype(int)
    asked = list(zip(found.origin.tolist(), steps.tolist(), found.y.tolist(), strict=True))
    assert len(asked) == len(set(asked))
    assert set(asked) == _slowly(rows, horizon)
    assert (found.frame["number"].to_numpy() == found.origin).all()  # each row carries its origin's features
    timeline = _timeline(rows).iloc[found.origin].reset_index(drop=True)
    ends = timeline["as_of"] + pd.to_timedelta((steps + 1) * step_length(horizon), unit="D")
    assert (ends <= timeline["known_until"]).all()


def test_inputs_stay_as_they_are() -> None:
    rows = [(0.0, 40.0, 400.0), (10.0, None, 90.0)]
    frame, timeline = _frame(2), _timeline(rows)
    expand(frame, timeline, horizon_days=90, rng=np.random.default_rng(0))
    pd.testing.assert_frame_equal(frame, _frame(2), check_exact=True)
    pd.testing.assert_frame_equal(timeline, _timeline(rows), check_exact=True)


def test_thinning_the_tail_leaves_every_hazard_as_it_is() -> None:
    rng = np.random.default_rng(5)
    hazard = 0.01 + 0.01 * np.arange(12)
    left = rng.random((6000, 12)) < hazard
    first = np.where(left.any(axis=1), left.argmax(axis=1), -1)
    rows = [(0.0, None if step < 0 else 30.0 * step + 1, 360.0) for step in first.tolist()]
    whole, thinned = _expand(rows, 90), _expand(rows, 90, rng=np.random.default_rng(1), far_share=0.5)
    near = thinned.frame[STEP] < 3
    assert near.sum() == (whole.frame[STEP] < 3).sum()  # what is asked of the model is never thinned
    assert (~near).sum() == pytest.approx(0.5 * near.sum(), rel=0.05)
    for step in range(12):
        kept, full = (found.y[found.frame[STEP] == step] for found in (thinned, whole))
        error = np.sqrt(hazard[step] * (1 - hazard[step]) / len(kept))
        assert full.mean() == pytest.approx(hazard[step], abs=4 * error)
        assert kept.mean() == pytest.approx(full.mean(), abs=4 * error)


def test_without_a_share_no_far_step_is_asked() -> None:
    rows = [(0.0, None, 400.0)] * 5
    assert set(_expand(rows, 90, far_share=0.0).frame[STEP]) == {0, 1, 2}
    assert set(_expand(rows, 90).frame[STEP]) == set(range(12))
    assert set(_expand(rows, 360, far_share=0.0).frame[STEP]) == set(range(12))


@settings(max_examples=150, deadline=None)
@given(
    st.floats(0, 800),
    st.floats(-90, 720),
    st.sampled_from([1.0, 3.0, 12.0, 24.0]),
    st.integers(0, 11),
    st.sampled_from([30, 14, 45]),
)
def test_a_renewal_is_carried_on_by_whole_terms(renewal: float, notice: float, term: float, step: int, length: int) -> None:
    frame = pd.DataFrame({"days_to_renewal": [renewal], "days_to_notice_deadline": [notice], "term_months": [term]})
    found = at_step(frame, step, length)
    for source, name in (("days_to_renewal", "step_renewal_days"), ("days_to_notice_deadline", "step_notice_days")):
        next_one, start = frame.loc[0, source], step * length
        while next_one < start:
            next_one += term * MONTH_DAYS
        ahead = found.loc[0, name]
        assert ahead >= 0
        # One that falls on the step's start may be read as today's or, by rounding, as the next.
        assert min(abs(ahead - (next_one - start)), abs(abs(ahead - (next_one - start)) - term * MONTH_DAYS)) < 1e-6
    assert found.loc[0, STEP] == step
    assert list(found.columns[:3]) == list(frame.columns)


@pytest.mark.parametrize("term", [np.nan, 0.0])
def test_without_a_term_nothing_is_known_of_the_renewal_after_the_next(term: float) -> None:
    frame = pd.DataFrame(
        {"days_to_renewal": [10.0, 70.0, np.nan], "days_to_notice_deadline": [-5.0, 40.0, np.nan], "term_months": term}
    )
    carried = at_step(frame, np.array([1, 1, 1]), 30)
    np.testing.assert_array_equal(carried["step_renewal_days"], [np.nan, 40.0, np.nan])
    np.testing.assert_array_equal(carried["step_notice_days"], [np.nan, 10.0, np.nan])


def test_each_row_may_stand_at_a_step_of_its_own() -> None:
    frame = pd.DataFrame({"days_to_renewal": 100.0, "days_to_notice_deadline": 70.0, "term_months": 12.0}, index=range(3))
    found = at_step(frame, np.array([0, 1, 3]), 30)
    assert found["step_renewal_days"].tolist() == [100.0, 70.0, 10.0]
    assert found["step_notice_days"].round(2).tolist() == [70.0, 40.0, 345.25]
