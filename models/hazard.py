"""Landmark hazard: features frozen at T, the period ahead cut into steps, each step a question of its own (domain.md §4).

A row asks, for step k, whether an account that is still there after k steps leaves within the next one. The renewal is projected
into each step by the contract's term, because most accounts can leave only there.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.matrix import FloatArray, known_values_of

STEP = "step"
#: Columns that a step adds, and the feature at T that each one carries forward.
STEP_COLUMNS = {"step_renewal_days": "days_to_renewal", "step_notice_days": "days_to_notice_deadline"}
MONTH_DAYS = 365.25 / 12
CURVE_DAYS = 360
#: What a step reads of the features at T, whether or not it varied in training.
CARRIED = (*STEP_COLUMNS.values(), "term_months")


def step_length(horizon_days: int) -> int:
    """Days of one step: 30, or the horizon where it is not a multiple of 30.

    >>> step_length(90), step_length(14)
    (30, 14)
    """
    return 30 if horizon_days % 30 == 0 else horizon_days


def step_count(step_days: int) -> int:
    """Steps that reach at least 360 days."""
    return -(-CURVE_DAYS // step_days)


def at_step(frame: pd.DataFrame, step: npt.ArrayLike, step_days: int) -> pd.DataFrame:
    """Return the frame with the columns of a step (a number, or one per row): its index and the distances from its start.

    A renewal that lies before the step's start is carried on by whole terms; without a known term nothing is known of the next.

    >>> frame = pd.DataFrame({"days_to_renewal": [10.0], "days_to_notice_deadline": [-20.0], "term_months": [12.0]})
    >>> at_step(frame, 1, 30)[["step", "step_renewal_days", "step_notice_days"]].round(2).values.tolist()
    [[1.0, 345.25, 315.25]]
    """
    start = np.asarray(step, dtype=np.float64) * step_days
    # What no source tells is unknown for all.
    *distances, term = known_values_of(frame, CARRIED).T
    columns = {STEP: np.broadcast_to(np.asarray(step, dtype=np.float64), len(frame))}
    columns |= {name: ahead(distance, term, start) for name, distance in zip(STEP_COLUMNS, distances, strict=True)}
    return frame.assign(**columns)


def ahead(distance: FloatArray, term_months: FloatArray, start: FloatArray) -> FloatArray:
    """Return the days from a step's start to a date that lies `distance` days after T, carried on by whole terms; broadcasts.

    >>> ahead(np.array([[10.0]]), np.array([[12.0]]), np.array([0.0, 30.0])).tolist()
    [[10.0, 345.25]]
    """
    left, term = distance - start, term_months * MONTH_DAYS
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(left >= 0, left, np.where(term > 0, np.mod(left, term), np.nan))


@dataclass(frozen=True)
class Landmarks:
    """Rows of the hazard fit: features with step columns (rows × columns), 0/1 labels, and the position of each row's origin."""

    frame: pd.DataFrame
    y: FloatArray
    origin: npt.NDArray[np.intp]


def expand(
    features: pd.DataFrame, timeline: pd.DataFrame, *, horizon_days: int, rng: np.random.Generator, far_share: float = 0.2
) -> Landmarks:
    """Return a row per landmark and step at whose start the account is still there and whose end is settled.

    `features` (rows × columns) and `timeline` (`models.labels.timeline`: as_of, churn_at, known_until) stand in one order.
    Steps past the horizon only shape the curve's tail: they are thinned at random, whatever their label, to `far_share` of
    the near ones, which leaves every hazard as it is.
    """
    step_days = step_length(horizon_days)
    near = horizon_days // step_days
    as_of, churn_at, known = (timeline[c].to_numpy().astype("datetime64[us]") for c in ("as_of", "churn_at", "known_until"))
    stays = np.isnat(churn_at)
    origins, steps, labels = [], [], []
    for step in range(step_count(step_days)):
        start = as_of + np.timedelta64(step * step_days, "D")
        end = start + np.timedelta64(step_days, "D")
        rows = np.flatnonzero((end <= known) & (stays | (churn_at >= start)))
        origins.append(rows)
        steps.append(np.full(len(rows), step))
        labels.append(~stays[rows] & (churn_at[rows] < end[rows]))
    origin, step_of, y = np.concatenate(origins), np.concatenate(steps), np.concatenate(labels).astype(np.float64)
    far = step_of >= near
    share = min(1.0, far_share * (~far).sum() / max(far.sum(), 1))
    keep = ~far | (rng.random(len(far)) < share)
    origin, step_of, y = origin[keep], step_of[keep], y[keep]
    return Landmarks(at_step(features.iloc[origin].reset_index(drop=True), step_of, step_days), y, origin)
