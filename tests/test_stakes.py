"""What is at stake: laws of the curve between and past its ends, of the four states, of expected revenue and its interval."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, ndtri

from models.matrix import FloatArray
from models.stakes import (
    LIFETIME_MONTHS,
    Estimate,
    Movement,
    arr_at_risk,
    expected_arr,
    expected_share,
    four_states,
    lifetime_value,
    p_non_renewal,
    survival_on,
)

HAZARDS = st.lists(st.floats(1e-6, 0.999), min_size=12, max_size=12)
SHARES = st.floats(0, 1)
MONTH_DAYS = 365.25 / 12


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """A probability within its interval."""
    low, value, high = sorted(draw(st.tuples(SHARES, SHARES, SHARES)))
    return Estimate(*(np.array([each]) for each in (value, low, high)))


@st.composite
def movements(draw: st.DrawFn) -> Movement:
    return Movement(draw(estimates()), draw(SHARES), draw(st.sampled_from([30, 90, 180])))


def sure(p: float, change: float, horizon_days: int = 180) -> Movement:
    """A movement of which the chance is known exactly."""
    chance = np.array([p])
    return Movement(Estimate(chance, chance, chance), change, horizon_days)


def curve(hazards: list[float]) -> FloatArray:
    return np.cumprod(1.0 - np.array([hazards]), axis=1)


# The four states


@settings(deadline=None)
@given(SHARES, SHARES, SHARES)
def test_the_four_states_exclude_each_other_and_sum_to_one(churn: float, contracted: float, expanded: float) -> None:
    down, up = (float(p[0]) for p in four_states(*(np.array([p]) for p in (churn, contracted, expanded))))
    flat = 1.0 - churn - down - up
    assert min(churn, down, up) >= 0
    assert flat >= -1e-12
    if contracted + expanded <= 1:
        assert flat == pytest.approx((1 - churn) * (1 - contracted - expanded), abs=1e-12)
    else:  # together they would be more than all who stay: nobody is flat, and they keep their proportion
        assert flat == pytest.approx(0, abs=1e-12)
        assert down * expanded == pytest.approx(up * contracted, abs=1e-12)


# The curve


@settings(deadline=None)
@given(HAZARDS)
def test_the_curve_is_met_at_its_ends_and_never_rises(hazards: list[float]) -> None:
    ends = survival_on(curve(hazards), 30.0 * np.arange(13), 30)[0]
    assert ends.tolist() == pytest.approx([1.0, *curve(hazards)[0]], rel=1e-9)
    everywhere = survival_on(curve(hazards), np.arange(0.0, 1830.0, 7.5), 30)[0].tolist()
    assert all(later <= earlier for earlier, later in pairwise(everywhere))


@settings(deadline=None)
@given(HAZARDS, st.integers(0, 11), st.floats(0, 29))
def test_within_a_step_each_day_has_the_same_hazard(hazards: list[float], step: int, day: float) -> None:
    at, after, start, end = survival_on(curve(hazards), 30.0 * step + np.array([day, day + 1.0, 0.0, 30.0]), 30)[0]
    assert after / at == pytest.approx((end / start) ** (1 / 30), rel=1e-9)


@settings(deadline=None)
@given(HAZARDS, st.floats(360, 1800))
def test_past_the_curve_the_last_hazard_is_held(hazards: list[float], day: float) -> None:
    at, after = survival_on(curve(hazards), np.array([day, day + 30.0]), 30)[0]
    assert after == pytest.approx(at * (1 - hazards[-1]), rel=1e-9)


def test_a_curve_that_is_zero_stays_zero() -> None:
    found = survival_on(np.array([[0.5, 0.0]]), np.array([30.0, 60.0, 900.0]), 30)[0]
    assert found == pytest.approx([0.5, 0.0, 0.0], abs=1e-300)


# The renewal and what is at risk


@pytest.mark.parametrize(
    ("days", "step"),
    [(0.0, 0), (29.99, 0), (30.0, 1), (359.0, 11), (360.0, None), (5000.0, None), (-1.0, None), (math.nan, None)],
)
def test_p_non_renewal_reads_the_end_of_the_renewals_step(days: float, step: int | None) -> None:
    survival = np.linspace(0.98, 0.7, 12)[None, :]
    [found] = p_non_renewal(survival, np.array([days]), 30)
    assert math.isnan(found) if step is None else found == 1 - survival[0, step]


@pytest.mark.parametrize(
    ("days", "step"), [(0.0, 0), (45.0, 1), (359.0, 11), (362.0, 11), (700.0, 11), (-1.0, 11), (math.nan, 11)]
)
def test_arr_is_at_risk_until_the_next_renewal_or_for_a_year(days: float, step: int) -> None:
    survival = np.linspace(0.98, 0.7, 12)[None, :]
    [found] = arr_at_risk(np.array([5000.0]), survival, 30, np.array([days]), np.array([0.2]), 0.5)
    stays = survival[0, step]
    assert found == pytest.approx(5000 * (1 - stays + stays * 0.2 * 0.5))


@settings(deadline=None)
@given(st.floats(0, 2000), movements(), movements())
def test_expected_mrr_moves_linearly_and_at_most_once(days: float, rise: Movement, fall: Movement) -> None:
    [[found]] = expected_share(np.array([days]), rise, fall)
    up, down = (min(days / m.horizon_days, 1.0) * m.chance.value[0] * m.mean_change for m in (rise, fall))
    assert found == pytest.approx(1 + up - down, abs=1e-12)


@settings(deadline=None)
@given(st.floats(0, 1e7), estimates(), st.floats(0, 400), movements(), movements())
def test_expected_arr_lies_in_its_interval(arr: float, staying: Estimate, days: float, rise: Movement, fall: Movement) -> None:
    found = expected_arr(np.array([arr]), staying, np.array([days]), rise, fall)
    value, low, high = (float(each[0]) for each in (found.value, found.low, found.high))
    assert 0 <= low <= value * (1 + 1e-12)
    assert value <= high * (1 + 1e-12)
    [[share]] = expected_share(np.array([days]), rise, fall)
    assert value == pytest.approx(arr * staying.value[0] * share, rel=1e-9, abs=1e-9)
    # As unsure as S alone at least, and at most as all three probabilities at their best at once.
    assert high >= arr * staying.high[0] * share - 1e-6
    assert low <= arr * staying.low[0] * share + 1e-6
    up, down = (min(days / m.horizon_days, 1.0) * m.mean_change for m in (rise, fall))
    best = 1 + rise.chance.high[0] * up - fall.chance.low[0] * down
    assert high <= arr * staying.high[0] * best * (1 + 1e-9) + 1e-6


def test_of_what_is_sure_the_interval_is_a_point() -> None:
    certain = Estimate(*[np.array([0.8])] * 3)
    found = expected_arr(np.array([1000.0]), certain, np.array([90.0]), sure(0.4, 0.5), sure(0.2, 0.25))
    assert found.value[0] == found.low[0] == found.high[0] == pytest.approx(1000 * 0.8 * (1 + 0.5 * (0.4 * 0.5 - 0.2 * 0.25)))


def test_the_interval_holds_nine_in_ten() -> None:
    """Three probabilities estimated apart, each as far off as its interval says: the interval of the money holds 90 %."""
    rng, rows, half = np.random.default_rng(0), 20_000, (0.25, 0.5, 0.6)
    truth = (0.85, 0.2, 0.1)

    def estimated(p: float, width: float) -> Estimate:
        seen = logit(p) + rng.normal(0, width / ndtri(0.95), rows)
        return Estimate(expit(seen), expit(seen - width), expit(seen + width))

    staying, up, down = (estimated(p, width) for p, width in zip(truth, half, strict=True))
    found = expected_arr(np.ones(rows), staying, np.full(rows, 200.0), Movement(up, 0.3, 180), Movement(down, 0.4, 180))
    expected = truth[0] * (1 + truth[1] * 0.3 - truth[2] * 0.4)
    assert np.mean((found.low <= expected) & (expected <= found.high)) == pytest.approx(0.9, abs=0.01)


# Lifetime value


@settings(deadline=None)
@given(HAZARDS, st.floats(0, 0.5), st.floats(0.1, 1), st.floats(0, 1), st.floats(0, 1))
def test_lifetime_value_by_hand(hazards: list[float], discount: float, margin: float, up: float, down: float) -> None:
    """Month by month, with survival as a product of whole and part steps."""
    expected = 0.0
    for month in range(1, 61):
        day = (month - 0.5) * MONTH_DAYS
        whole, part = divmod(day, 30.0)
        staying = math.prod((1 - hazards[min(step, 11)]) for step in range(int(whole)))
        staying *= (1 - hazards[min(int(whole), 11)]) ** (part / 30.0)
        share = 1 + (up * 0.3 - down * 0.4) * min(day / 180, 1.0)
        expected += staying * 100.0 * share * margin / (1 + discount) ** ((month - 0.5) / 12)
    moves = sure(up, 0.3), sure(down, 0.4)
    [found] = lifetime_value(np.array([1200.0]), curve(hazards), 30, *moves, margin=margin, discount=discount)
    assert found == pytest.approx(expected, rel=1e-9)
    [dearer] = lifetime_value(np.array([1200.0]), curve(hazards), 30, *moves, margin=margin, discount=discount + 0.1)
    assert dearer < found <= LIFETIME_MONTHS * 100.0 * 1.3 * margin


@pytest.mark.parametrize("step_days", [14, 30, 45])
def test_a_step_of_any_length_is_read_at_its_days(step_days: int) -> None:
    steps = -(-360 // step_days)
    survival = np.exp(-0.001 * step_days * np.arange(1, steps + 1))[None, :]
    [found] = lifetime_value(np.array([12.0]), survival, step_days, sure(0, 0), sure(0, 0), margin=1.0, discount=0.0)
    assert found == pytest.approx(sum(math.exp(-0.001 * (month + 0.5) * MONTH_DAYS) for month in range(60)), rel=1e-9)


def test_an_account_alone_is_the_account_in_the_batch_to_the_bit() -> None:
    rng, rows = np.random.default_rng(3), 517
    survival = np.cumprod(1 - rng.beta(1, 30, (rows, 12)), axis=1)
    arr, days = rng.lognormal(9, 1, rows), rng.uniform(0, 500, rows)

    def whole() -> tuple[Estimate, Estimate, Estimate]:
        p = rng.uniform(0.01, 0.6, (3, rows))
        return tuple(Estimate(each, each * 0.7, each * 1.3) for each in p)  # type: ignore[return-value]

    def cut(each: Estimate, at: slice) -> Estimate:
        return Estimate(each.value[at], each.low[at], each.high[at])

    staying, up, down = whole()

    def figures(at: slice) -> list[FloatArray]:
        moves = Movement(cut(up, at), 0.21, 180), Movement(cut(down, at), 0.37, 90)
        expected = expected_arr(arr[at], cut(staying, at), days[at], *moves)
        worth = lifetime_value(arr[at], survival[at], 30, *moves, margin=0.8, discount=0.1)
        return [worth, expected.value, expected.low, expected.high]

    together = figures(slice(None))
    for row in range(rows):
        assert [each[0] for each in figures(slice(row, row + 1))] == [each[row] for each in together]


def test_unknown_money_stays_unknown() -> None:
    survival, still = curve([0.01] * 12), Movement.none(1, 180)
    nothing = np.array([math.nan])
    assert np.isnan(lifetime_value(nothing, survival, 30, still, still, margin=0.8, discount=0.1)).all()
    found = expected_arr(nothing, Estimate(*[np.array([0.9])] * 3), np.array([30.0]), still, still)
    assert all(np.isnan(each).all() for each in (found.value, found.low, found.high))
