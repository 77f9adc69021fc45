"""The four baselines that every model is reported beside; each is a `LinearModel` on other columns.

`inputs` adds the columns that they need to the features; fit and predict on frames that went through it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from models import linear
from models.linear import LinearModel

RECENCY = "days_since_last_use"
TENURE = "tenure_days"
CALENDAR = ("month_sin", "month_cos")
HEALTH = "health_score"
#: Straight pieces of the tenure curve: enough for a first-year hump, few enough for some hundred rows.
TENURE_PIECES = 8


def inputs(features: pd.DataFrame, as_of: pd.Series, health_score: pd.Series | None = None) -> pd.DataFrame:
    """Return `features` (rows, …) with month_sin, month_cos and health_score beside them, all rows in their order.

    `as_of` (rows,) are the instants T of the rows, naive UTC; `health_score` (rows,) is 0–100 or missing. Both are
    taken by position. A baseline column that the features lack (no such source) is all missing.
    ValueError on another length or a null `as_of`.

    >>> frame = inputs(pd.DataFrame({"seats": [5.0]}), pd.Series(pd.to_datetime(["2026-04-01"])))
    >>> frame.round(3).iloc[0].to_dict()
    {'seats': 5.0, 'days_since_last_use': nan, 'tenure_days': nan, 'month_sin': 1.0, 'month_cos': 0.0,
     'health_score': nan}
    """
    months = pd.to_datetime(as_of)
    if len(months) != len(features) or months.isna().any():
        raise ValueError(f"as_of has {len(months)} values, {int(months.isna().sum())} of them null, for {len(features)} rows")
    if health_score is not None and len(health_score) != len(features):
        raise ValueError(f"health_score has {len(health_score)} values for {len(features)} rows; give one per row")
    angle = 2 * np.pi * (months.dt.month.to_numpy() - 1) / 12
    added: dict[str, npt.NDArray[np.float64] | float] = {
        name: np.nan for name in (RECENCY, TENURE) if name not in features.columns
    }
    added["month_sin"], added["month_cos"] = np.sin(angle), np.cos(angle)
    added[HEALTH] = np.nan if health_score is None else health_score.to_numpy(dtype=np.float64, na_value=np.nan)
    return features.assign(**added)


def logistic(
    frame: pd.DataFrame,
    y: npt.ArrayLike,
    *,
    columns: Sequence[str],
    c: float = 1.0,
    sample_weight: npt.ArrayLike | None = None,
) -> LinearModel:
    """Fit on the booster's own features `columns`; it serves where the booster does not beat it."""
    return linear.fit(frame, y, columns=columns, c=c, sample_weight=sample_weight)


def recency(frame: pd.DataFrame, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> LinearModel:
    """Fit on the days since the last use alone; the base rate where no usage is known."""
    return linear.fit(frame, y, columns=[RECENCY], sample_weight=sample_weight)


def tenure_calendar(frame: pd.DataFrame, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> LinearModel:
    """Fit on a curve of tenure and on the month of the year: what is known without looking at the customer.

    The season enters only if the training rows show all twelve months: the wave through fewer is a guess about the
    others, and a baseline that guesses wildly is beaten by anything.
    """
    months = frame[list(CALENDAR)].round(6).drop_duplicates()
    season = CALENDAR if len(months) == 12 else ()
    return linear.fit(frame, y, columns=[TENURE, *season], sample_weight=sample_weight, pieces={TENURE: TENURE_PIECES})


def health_score(frame: pd.DataFrame, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> LinearModel:
    """Fit on the health score alone, a missing score marked; the base rate where nobody has one."""
    return linear.fit(frame, y, columns=[HEALTH], sample_weight=sample_weight)
