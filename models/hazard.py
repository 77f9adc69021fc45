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
#: Plays begun since T, before the step (for contraction and expansion: in the horizon); none when scoring (domain.md §4).
EXPOSURE = "plays_begun_since"
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


#: Rows without the outcome below which none is left out.
FEW_NEGATIVES = 20_000


def case_control(
    y: FloatArray, negatives: float | None, rng: np.random.Generator, few: int = FEW_NEGATIVES
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return positions of all positives and of about `negatives` times as many negatives, and weights that keep the rates.

    Prentice and Pyke (1979): where an outcome is rare, most rows without it tell the same; what is left out, the weights of the
    others stand for. At least `few` negatives are kept; None: all.

    >>> kept, weight = case_control(np.array([1.0, 0.0, 0.0, 0.0]), 1.0, np.random.default_rng(0), few=1)
    >>> bool(0 in kept), float(weight[0])
    (True, 1.0)
    """
    positive = y > 0
    there = max(int((~positive).sum()), 1)
    share = 1.0 if negatives is None else min(1.0, max(negatives * positive.sum(), few) / there)
    kept = np.flatnonzero(positive | (rng.random(len(y)) < share))
    return kept, np.where(positive[kept], 1.0, 1.0 / share)


@dataclass(frozen=True)
class Landmarks:
    """Rows of the hazard fit: features with step columns (rows × columns), 0/1 labels, weights, and which landmark each is of."""

    frame: pd.DataFrame
    y: FloatArray
    weight: FloatArray
    origin: npt.NDArray[np.intp]


def settled(timeline: pd.DataFrame, step_days: int, steps: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Return landmark, step and label of every step at whose start the account is still there and whose end is settled.

    A landmark whose horizon is still open gives the steps that are over: it is censored there, and neither positive nor negative
    after. `timeline` is that of `models.labels.timeline` (as_of, churn_at, known_until).
    """
    as_of, churn_at, known = (timeline[c].to_numpy().astype("datetime64[us]") for c in ("as_of", "churn_at", "known_until"))
    stays = np.isnat(churn_at)
    origins, steps_of, labels = [], [], []
    for step in range(steps):
        start = as_of + np.timedelta64(step * step_days, "D")
        end = start + np.timedelta64(step_days, "D")
        rows = np.flatnonzero((end <= known) & (stays | (churn_at >= start)))
        origins.append(rows)
        steps_of.append(np.full(len(rows), step))
        labels.append(~stays[rows] & (churn_at[rows] < end[rows]))
    return np.concatenate(origins), np.concatenate(steps_of), np.concatenate(labels).astype(np.float64)


def expand(
    features: pd.DataFrame,
    timeline: pd.DataFrame,
    *,
    horizon_days: int,
    rng: np.random.Generator,
    far_share: float = 0.2,
    exposed: npt.NDArray[np.int8] | None = None,
    negatives: float | None = None,
) -> Landmarks:
    """Return a row per landmark and settled step (`settled`).

    `features` (rows × columns) and `timeline` stand in one order; `exposed` (rows × steps) counts the plays begun between T and
    each step's start, and becomes the column EXPOSURE. Steps past the horizon only shape the curve's tail: they are thinned at
    random, whatever their label, to `far_share` of the near ones, which leaves every hazard as it is. Of the rows without a
    departure `negatives` for each with one are kept (`case_control`).
    """
    step_days = step_length(horizon_days)
    near = horizon_days // step_days
    origin, step_of, y = settled(timeline, step_days, step_count(step_days))
    far = step_of >= near
    share = min(1.0, far_share * (~far).sum() / max(far.sum(), 1))
    keep = ~far | (rng.random(len(far)) < share)
    origin, step_of, y = origin[keep], step_of[keep], y[keep]
    kept, weight = case_control(y, negatives, rng)
    origin, step_of = origin[kept], step_of[kept]
    frame = at_step(features.iloc[origin].reset_index(drop=True), step_of, step_days)
    if exposed is not None:
        frame[EXPOSURE] = exposed[origin, step_of].astype(np.float64)
    return Landmarks(frame, y[kept], weight, origin)
