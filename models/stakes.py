"""What is at stake: the curve read at a date, the next renewal, expected revenue and ARR at risk (domain.md §4)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
YEAR_DAYS = 365


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


def arr_at_risk(
    arr: FloatArray, survival: FloatArray, step_days: int, renewal_days: FloatArray, p_contracted: FloatArray, mean_fall: float
) -> FloatArray:
    """ARR × (1 − S(t) + S(t) × P(contracted) × mean fall), t = the next renewal or 12 months, the earlier.

    >>> curve = np.array([[0.9, 0.8]])
    >>> arr_at_risk(np.array([1000.0]), curve, 30, np.array([10.0]), np.array([0.0]), 0.0).round(6).tolist()
    [100.0]
    """
    last = survival.shape[1] * step_days - 1
    days = np.minimum(np.where(np.isnan(renewal_days) | (renewal_days < 0), np.inf, renewal_days), min(YEAR_DAYS, last))
    staying = survival_at(survival, days, step_days)
    return arr * (1.0 - staying + staying * p_contracted * mean_fall)


def expected_share(
    days: FloatArray, horizon_days: int, p_up: FloatArray, rise: float, p_down: FloatArray, fall: float
) -> FloatArray:
    """Expected MRR at a day, given staying, as a share of today's: movement scales linearly up to the horizon, at most once.

    >>> expected_share(np.array([90.0]), 180, np.array([0.5]), 0.2, np.array([0.1]), 0.5).round(4).tolist()
    [1.025]
    """
    return 1.0 + (p_up * rise - p_down * fall) * np.clip(days / horizon_days, 0.0, 1.0)


def four_states(p_churn: FloatArray, contracted: FloatArray, expanded: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return P(contracted) and P(expanded) from the models' probabilities given staying; with churn and flat they sum to 1.

    >>> [p.round(3).tolist() for p in four_states(np.array([0.5]), np.array([0.2]), np.array([0.4]))]
    [[0.1], [0.2]]
    """
    staying = (1.0 - p_churn) / np.maximum(contracted + expanded, 1.0)
    return staying * contracted, staying * expanded
