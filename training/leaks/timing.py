"""Features that know the date: among accounts that leave, they tell when, beyond the contract's dates and the calendar."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from training.leaks.leak import Evidence, Leak
from training.leaks.strength import CONTRACT_DATES

FloatArray = npt.NDArray[np.float64]

#: A share of the largest correlation that there could be. Honest features reach 0.25 (0.46 on 18 accounts) on the same training
#: rows as in strength.py; the date itself, with noise of a third of its spread, 0.9.
_KNOWS = 0.7
#: One-sided, over all columns that are looked at.
_LEVEL = 0.05
#: Fewer accounts than this beside those that the regression uses up prove nothing.
_FREE_ACCOUNTS = 10
#: So many accounts are needed for each bin into which a contract date is cut.
_ACCOUNTS_PER_BIN = 40
#: Rows that are looked at, at most: evenly spread, which is enough to tell 0.3 from 0.7.
_ROWS = 8000
#: Bins into which each contract date is cut, so that any course of risk over a contract is followed.
_BINS = 12
#: Less than this of a feature's variance left by the contract's dates: it is one of them in other words.
_OWN = 0.02
_ADVICE = (
    "It tells the day on which accounts will leave, better than any contract does: find the source that was written after the "
    "departure, and leave it out, or give the instant from which it was known."
)


def knows_the_date(frame: pd.DataFrame, timeline: pd.DataFrame, model: str) -> list[Leak]:
    """Return the features whose ranks follow the days to churn, given contract dates and calendar, implausibly closely.

    `frame` and `timeline` (as_of, churn_at, account_id) are the training rows of a churn model; only rows with a settled churn
    are read. Ranks of the days to churn and of every feature (and of its being missing) are each freed from what contract dates
    and calendar explain, by least squares on their bins; what is left is correlated. So days to renewal accuse no one, nor does
    what follows them, and a leak must know the day itself. The correlation is told relative to the largest that the two
    could have; its lower 95 % bound over all columns decides (Fisher's z, an account counting one, less the regression's rank).
    """
    leaving = np.flatnonzero(timeline["churn_at"].notna().to_numpy())
    if len(leaving) > _ROWS:
        leaving = leaving[np.linspace(0, len(leaving) - 1, _ROWS).astype(np.intp)]
    frame, timeline = frame.iloc[leaving], timeline.iloc[leaving]
    accounts = timeline["account_id"].nunique()
    if accounts < _FREE_ACCOUNTS:
        return []
    days = (timeline["churn_at"] - timeline["as_of"]).dt.total_seconds().to_numpy()
    if np.ptp(days) == 0:
        return []
    known = _known_dates(frame, timeline, bins=int(np.clip(accounts // _ACCOUNTS_PER_BIN, 1, _BINS)))
    used_up = int(np.linalg.matrix_rank(known))
    columns = _columns(frame)
    deviate = float(norm.isf(_LEVEL / max(len(columns), 1)))
    ranks = pd.DataFrame({"": days} | columns).rank().to_numpy()
    there = ~np.isnan(ranks)
    ranks = np.where(there, ranks - np.nanmean(ranks, axis=0), 0.0)
    left = ranks - known @ np.linalg.lstsq(known.T @ known, known.T @ ranks, rcond=None)[0]
    own = np.square(left).sum(axis=0) > _OWN * np.square(ranks).sum(axis=0)
    if not own[0]:
        return []  # the contract's dates tell the day already: nothing is left to know
    found: dict[str, Leak] = {}
    for index, name in enumerate(columns, start=1):
        rows = there[:, index]
        share = _share_of_largest(left[rows, index], left[rows, 0]) if own[index] else 0.0
        feature = name.removesuffix(_MISSING)
        if share <= _KNOWS or feature in found:
            continue
        accounts = timeline["account_id"][rows].nunique()
        free = accounts - used_up
        if free < _FREE_ACCOUNTS:
            continue
        low = float(np.tanh(np.arctanh(min(share, _CERTAIN)) - deviate / np.sqrt(free - 3)))
        if low > _KNOWS:
            evidence: Evidence = {
                "model": model,
                "correlation": share,
                "correlation_low": low,
                "rows": int(rows.sum()),
                "accounts": accounts,
            }
            if name != feature:
                evidence["by"] = "whether it is missing"
            found[feature] = Leak("knows_the_date", feature, evidence, _ADVICE)
    return list(found.values())


def _share_of_largest(a: FloatArray, b: FloatArray) -> float:
    """|correlation|, relative to the largest that their values could have in another order (0/1 never correlates fully)."""
    a, b = a - a.mean(), b - b.mean()
    together = float(a @ b)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    if abs(together) < _KNOWS / 2 * scale or scale == 0:
        return 0.0
    return abs(together) / float(np.sort(a if together > 0 else -a) @ np.sort(b))


#: Ends the name of the column that tells whether a feature is missing; no feature has it in its name.
_MISSING = " is missing"
#: Fisher's z is infinite at 1.
_CERTAIN = 1 - 1e-9


def _columns(frame: pd.DataFrame) -> dict[str, FloatArray]:
    """Every feature that is no contract date, and whether it is missing; constants left out."""
    found: dict[str, FloatArray] = {}
    for name in frame.columns:
        if name in CONTRACT_DATES:
            continue
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        missing = np.isnan(values)
        if missing.all():
            continue
        if np.nanmin(values) < np.nanmax(values):
            found[name] = values
        if missing.any():
            found[name + _MISSING] = missing.astype(np.float64)
    return found


def _known_dates(frame: pd.DataFrame, timeline: pd.DataFrame, bins: int) -> FloatArray:
    """The calendar and the contract dates, each as it is, as being missing, and by quantile bins: columns to regress on."""
    dates = [timeline["as_of"].astype("int64"), *(frame[name] for name in frame.columns if name in CONTRACT_DATES)]
    columns = [np.ones(len(frame))]
    for date in dates:
        values = date.to_numpy(dtype=np.float64, na_value=np.nan)
        there = ~np.isnan(values)
        if not there.any():
            continue
        scale = values[there].std()
        columns.append(np.where(there, (values - values[there].mean()) / scale, 0.0) if scale > 0 else np.zeros(len(values)))
        columns.append(there.astype(np.float64))
        edges = np.unique(np.quantile(values[there], np.linspace(0, 1, bins + 1)[1:-1]))
        bin_of = np.searchsorted(edges, values)
        columns += [(there & (bin_of == edge)).astype(np.float64) for edge in range(1, len(edges) + 1)]
    return np.column_stack(columns)
