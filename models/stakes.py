"""What is at stake: the curve read at a date, the next renewal, expected revenue and its lifetime, ARR at risk (domain.md §4).

A curve is S (rows × steps) at the ends of steps of `step_days`, as `OutcomeModel.survival` gives it. Money is in the reporting
currency, NaN where it is not known, and stays so in every answer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.hazard import MONTH_DAYS
from models.matrix import FloatArray

YEAR_DAYS = 365
YEAR_MONTHS = 12
#: Expected lifetime value looks so far ahead (domain.md §4).
LIFETIME_MONTHS = 60
#: The middles of those months, in days after T: what a month brings comes over the month.
_MID_MONTHS: FloatArray = (np.arange(LIFETIME_MONTHS, dtype=np.float64) + 0.5) * MONTH_DAYS
#: A curve that reaches zero stays there, and has a logarithm.
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Estimate:
    """Values (rows,) with their 90 % intervals."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Movement:
    """How the MRR of an account that stays moves one way.

    `chance`: P(it moves so within `horizon_days` | it stays); `mean_change`: the mean share of MRR by which such accounts rose,
    or fell, in training.
    """

    chance: Estimate
    mean_change: float
    horizon_days: int

    @classmethod
    def none(cls, rows: int, horizon_days: int) -> "Movement":
        """That of accounts of which no model says how they move: not at all."""
        nobody = np.zeros(rows)
        return cls(Estimate(nobody, nobody, nobody), 0.0, horizon_days)

    def reach(self, days: FloatArray) -> FloatArray:
        """The share of MRR by which an account that moves has moved after so many days: linear, whole from the horizon on."""
        return self.mean_change * np.minimum(np.maximum(days / self.horizon_days, 0.0), 1.0)


def survival_at(survival: FloatArray, days: FloatArray, step_days: int) -> FloatArray:
    """Return S (rows,) at the end of the step that holds each row's day; NaN past the curve or where the day is unknown.

    >>> survival_at(np.array([[0.9, 0.8]]), np.array([31.0]), 30).tolist()
    [0.8]
    """
    with np.errstate(invalid="ignore"):
        step = np.floor(np.maximum(days, 0) / step_days)
    known = np.isfinite(step) & (step < survival.shape[1])
    at = np.where(known, step, 0).astype(int)
    return np.where(known, survival[np.arange(len(days)), at], np.nan)


def survival_on(survival: FloatArray, days: FloatArray, step_days: int) -> FloatArray:
    """Return S (rows × days) on days (days,) after T, on the curve or past it.

    The hazard is constant within a step, so that S bends from end to end; past the curve that of its last step is held.

    >>> survival_on(np.array([[0.9, 0.45]]), np.array([0.0, 30.0, 45.0, 60.0, 90.0]), 30).round(4).tolist()
    [[1.0, 0.9, 0.6364, 0.45, 0.225]]
    """
    ends = np.zeros((len(survival), survival.shape[1] + 1))
    ends[:, 1:] = np.log(np.maximum(survival, _TINY))
    step: npt.NDArray[np.intp] = np.minimum(days // step_days, survival.shape[1] - 1).astype(np.intp)
    start = ends.take(step, axis=1)
    return np.exp(start + (ends.take(step + 1, axis=1) - start) * (days / step_days - step))


def p_non_renewal(survival: FloatArray, renewal_days: FloatArray, step_days: int) -> FloatArray:
    """Return 1 − S (rows,) at the end of the renewal's step; NaN where the curve does not reach, or no renewal lies ahead.

    >>> p_non_renewal(np.array([[0.9, 0.8]] * 3), np.array([31.0, 60.0, -1.0]), 30).round(6).tolist()
    [0.2, nan, nan]
    """
    return 1.0 - survival_at(survival, np.where(renewal_days >= 0, renewal_days, np.nan), step_days)


def arr_at_risk(
    arr: FloatArray, survival: FloatArray, step_days: int, renewal_days: FloatArray, p_contracted: FloatArray, mean_fall: float
) -> FloatArray:
    """ARR × (1 − S(t) + S(t) × P(contracted) × mean fall), t = the next renewal or 12 months, the earlier.

    P(contracted) is given that the account stays. Twelve months end where the curve does.

    >>> curve = np.array([[0.9, 0.8]])
    >>> arr_at_risk(np.array([1000.0]), curve, 30, np.array([10.0]), np.array([0.0]), 0.0).round(6).tolist()
    [100.0]
    """
    last = survival.shape[1] * step_days - 1
    days = np.minimum(np.where(np.isnan(renewal_days) | (renewal_days < 0), np.inf, renewal_days), min(YEAR_DAYS, last))
    staying = survival_at(survival, days, step_days)
    return arr * (1.0 - staying + staying * p_contracted * mean_fall)


def expected_share(days: FloatArray, rise: Movement, fall: Movement) -> FloatArray:
    """Expected MRR (rows × days), given staying, as a share of today's, on days after T: (days,), or (rows × days).

    Each movement scales linearly from its model's horizon to the day, at most once.

    >>> def sure(p, change):
    ...     return Movement(Estimate(*[np.array([p])] * 3), change, 180)
    >>> expected_share(np.array([90.0, 180.0, 720.0]), sure(0.5, 0.2), sure(0.1, 0.5)).round(4).tolist()
    [[1.025, 1.05, 1.05]]
    """
    return 1.0 + rise.chance.value[:, None] * rise.reach(days) - fall.chance.value[:, None] * fall.reach(days)


def expected_arr(arr: FloatArray, staying: Estimate, days: FloatArray, rise: Movement, fall: Movement) -> Estimate:
    """Return the ARR expected (rows,) on each row's day: S × expected MRR given staying × 12, with a 90 % interval.

    The interval is one for the expectation, as those of the probabilities are, not for what the account will pay, which is mostly
    nothing or all of it. It holds how unsure the three probabilities are, taken as independent: their intervals are squared and
    added, each side by itself (MOVER; Zou and Donner 2008, Statistics in Medicine 27, 1693–1702). How unsure the mean rise and
    fall are is not in it.

    >>> still = Movement.none(1, 180)
    >>> staying = Estimate(np.array([0.9]), np.array([0.8]), np.array([0.95]))
    >>> found = expected_arr(np.array([1000.0]), staying, np.array([30.0]), still, still)
    >>> found.value.round(6).tolist(), found.low.round(6).tolist(), found.high.round(6).tolist()
    ([900.0], [800.0], [950.0])
    """
    up, down = rise.chance, fall.chance
    upwards, downwards = rise.reach(days), fall.reach(days)
    share = expected_share(days[:, None], rise, fall)[:, 0]
    below = _together(
        (staying.value - staying.low) * share,
        (up.value - up.low) * upwards * staying.value,
        (down.high - down.value) * downwards * staying.value,
    )
    above = _together(
        (staying.high - staying.value) * share,
        (up.high - up.value) * upwards * staying.value,
        (down.value - down.low) * downwards * staying.value,
    )
    expected = staying.value * share
    return Estimate(arr * expected, arr * np.maximum(expected - below, 0.0), arr * (expected + above))


def _together(*distances: FloatArray) -> FloatArray:
    first, *others = (distance * distance for distance in distances)
    return np.sqrt(sum(others, first))


def lifetime_value(
    arr: FloatArray, survival: FloatArray, step_days: int, rise: Movement, fall: Movement, *, margin: float, discount: float
) -> FloatArray:
    """Return the expected lifetime value (rows,): Σ over 60 months of survival × expected MRR × margin, discounted.

    A month is 365.25 / 12 days; all of it is read, and discounted (a fraction a year), at its middle. `survival_on` says what
    survival is between the ends of steps, and past the curve.

    >>> still, ever = Movement.none(1, 180), np.ones((1, 12))
    >>> round(float(lifetime_value(np.array([1200.0]), ever, 30, still, still, margin=0.8, discount=0.0)[0]), 6)
    4800.0
    """
    worth = margin * (1.0 + discount) ** (-_MID_MONTHS / (YEAR_MONTHS * MONTH_DAYS))
    months = survival_on(survival, _MID_MONTHS, step_days) * expected_share(_MID_MONTHS, rise, fall) * worth
    # Over contiguous memory: in the same order, and so to the same bit, alone and in a batch.
    return arr / YEAR_MONTHS * np.ascontiguousarray(months).sum(axis=1)


def four_states(p_churn: FloatArray, contracted: FloatArray, expanded: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return P(contracted) and P(expanded) from the models' probabilities given staying; with churn and flat they sum to 1.

    >>> [p.round(3).tolist() for p in four_states(np.array([0.5]), np.array([0.2]), np.array([0.4]))]
    [[0.1], [0.2]]
    """
    staying = (1.0 - p_churn) / np.maximum(contracted + expanded, 1.0)
    return staying * contracted, staying * expanded
