"""Has the company changed since a model learnt from it: drift by effect size, and when to train again.

*Effect.* The population stability index (PSI), Σ (now − then) ln(now / then) over quantile bins of a column, missing values a
bin of their own. It is the measure that the field reads without a legend, one number whatever the column's unit and shape, and
its behaviour under chance is known: without drift its mean is (bins − 1)(1/n + 1/m) and, divided by (1/n + 1/m), it is χ² with
bins − 1 degrees of freedom (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14(4)). That mean is taken off, n and m
count accounts rather than rows, and half a row is added to each bin, so that an empty one is no infinity.

*Against what.* The most similar date of the last year that the model learnt from. Many columns move by nature with the
weekday of a month's first, the season or the quarter; pooled over a year, each month would look odd. So the question asked is:
has the model ever seen a month like this?

*Threshold.* A drift is large where the effect reaches LARGE, and lies beyond what chance would show in one of all columns of
a watch (so fewer accounts raise the bar, and no alarms), and beyond ORDINARY_MARGIN times the largest effect by which the
last third of the model's own months differed from all that stood as long before them (so that clocks and sums that grow with
the length of history raise nothing by growing on).

*Raised.* Where the predictions drifted, or inputs that together carry MATTERS of what moves them. Blind by design: to what the
model met in some month of the year before, to any shift that a column shows from month to month anyway, and to a relation
between inputs and outcome that changed while both stayed as they were: that is what the labels tell (`training.expected`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import chi2

from models.matrix import FloatArray, Table, known_values_of
from models.profile import Counts, Profile, Spread, monthly

Level = Literal["none", "moderate", "large", "unknown"]
#: Half a standard deviation of a normal column is 0.2. The field's borders, 0.1 and 0.25, are for a year's pool as reference;
#: against the most similar month a column that did not drift shows next to nothing, so that less says more.
MODERATE, LARGE = 0.05, 0.1
#: With no drift at all, the chance that any column of a watch is called drifted.
FALSE_ALARM = 0.01
ORDINARY_MARGIN = 1.5
#: Drifted inputs raise an alarm from this share of all that moves the predictions; lighter ones are only told.
MATTERS = 0.01
MINIMUM_ACCOUNTS = 50
#: Dates of a model's past among which the most similar one is looked for: a year of months.
_YEAR = 12
#: What the predictions are called among the columns.
SCORE = "score"
_MONTH_DAYS = 30.4


class WatchSettings(BaseModel):
    """`[watch]` of kunto.toml: when models are trained again, and what a night does about it.

    `every_days`: by schedule, so many days of data after the newest training; `on_drift`: also where drift or a performance
    below what was expected is raised, yet not sooner than `wait_days` after that training. `months`: month starts that are
    watched. `minimum_accounts`: below it nothing is said of drift. `nightly`: whether `kunto nightly` trains where it is due, or
    only says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_days: int = Field(default=30, ge=1)
    on_drift: bool = True
    wait_days: int = Field(default=7, ge=0)
    months: int = Field(default=6, ge=1, le=24)
    minimum_accounts: int = Field(default=MINIMUM_ACCOUNTS, ge=2)
    nightly: Literal["say", "train"] = "say"


@dataclass(frozen=True)
class Drift:
    """How far one column lies from the most similar date that the model learnt from.

    `effect` is the stability index less what chance gives, at least 0; `threshold` the effect from which it is large. `weight`
    is the column's share of what moves the predictions, 1 for the predictions themselves.
    """

    feature: str
    level: Level
    effect: float
    threshold: float
    nearest: str | None
    rows: int
    missing_then: float
    missing_now: float
    weight: float


@dataclass(frozen=True)
class DriftReport:
    """Every column of one date, the worst level first, within it what weighs most; `reasons` say it in sentences."""

    as_of: str
    accounts: int
    raised: bool
    reasons: list[str]
    columns: list[Drift] = field(default_factory=list)


def drift(
    profile: Profile,
    frame: Table,
    p: npt.ArrayLike,
    *,
    as_of: pd.Timestamp,
    accounts: npt.ArrayLike,
    sources: Mapping[str, str] | None = None,
    minimum: int = MINIMUM_ACCOUNTS,
) -> DriftReport:
    """Hold a date's inputs `frame` (rows × features) and predictions `p` (rows,) against a model's profile.

    `accounts` (rows,) says whose row it is; `sources` names the table that each feature comes from, by which the reasons are
    put together. A feature that the frame lacks is all missing. Under `minimum` accounts every level is "unknown", nothing is
    raised, and the reason says so. ValueError where the lengths differ.
    """
    whose, scores = np.asarray(accounts), np.asarray(p, dtype=np.float64)
    if not len(frame) == len(whose) == len(scores):
        raise ValueError(
            f"frame, p and accounts have {len(frame)}, {len(scores)} and {len(whose)} rows; give one of each per row"
        )
    names = tuple(profile.inputs)
    values = {SCORE: scores, **dict(zip(names, known_values_of(frame, names).T, strict=True))}
    spreads = {SCORE: profile.score, **profile.inputs}
    count = len(pd.unique(whose))
    found = [_judge(name, spread, values[name], profile, as_of, count, len(spreads), minimum) for name, spread in spreads.items()]
    rank = {"large": 0, "moderate": 1, "none": 2, "unknown": 2}
    found.sort(key=lambda each: (rank[each.level], -each.weight, each.feature))
    large = [each for each in found if each.level == "large"]
    raised = sum(each.weight for each in large) >= MATTERS
    if count < minimum:
        reasons = [f"Not enough rows to tell: {count} accounts, and at least {minimum} are needed to speak of drift."]
    else:
        reasons = _sentences(large, sources or {}, scores, profile.base_rate)
        if large and not raised:
            reasons.append(f"Together they carry less than {MATTERS:.0%} of what moves the predictions: no alarm.")
    return DriftReport(as_of.isoformat(), count, raised, reasons, found)


def stability_index(now: Counts, then: Counts) -> tuple[FloatArray, int]:
    """Return the bias-corrected index of counts `now` (bins,) against each row of `then` (dates × bins), and the bins in use.

    >>> index, bins = stability_index(np.array([500, 500]), np.array([[500, 500], [900, 100]]))
    >>> index.round(2).tolist(), bins
    ([-0.0, 0.87], 2)
    """
    used = (now > 0) | (then > 0).any(axis=0)
    bins = int(used.sum())
    here, there = (_shares(counts[..., used]) for counts in (now, then))
    index = ((here - there) * np.log(here / there)).sum(axis=-1)
    return index - (bins - 1) * (1 / now.sum() + 1 / then.sum(axis=-1)), bins


def _shares(counts: Counts) -> FloatArray:
    """Shares by bin, half a row added to each (Jeffreys' prior)."""
    smoothed = counts + 0.5
    return np.asarray(smoothed / smoothed.sum(axis=-1, keepdims=True), dtype=np.float64)


def ordinary(table: Counts, gap: int) -> float:
    """Return the largest effect by which dates of the last third differ from the most similar one at least `gap` before them.

    Both the gap and the dates before it are a third of all dates, where history has no more; 0 where it is a single date.

    >>> grows = np.array([[900 - 100 * month, 100 + 100 * month] for month in range(8)])
    >>> round(ordinary(grows, 1), 2), round(ordinary(grows, 2), 2)
    (0.05, 0.19)
    """
    third = max(1, len(table) // 3)
    gap, effects = min(gap, third), [0.0]
    for date in range(gap + third - 1, len(table)):
        before = table[max(0, date - gap - _YEAR + 1) : date - gap + 1]
        effects.append(float(stability_index(table[date], before)[0].min()))
    return max(effects)


def novelty(table: Counts) -> FloatArray:
    """Return how far each date's counts (dates × bins) lie from the most similar earlier date, (dates,), at least 0.

    nan for the first, and for dates that have no row.

    >>> novelty(np.array([[90, 10], [10, 90], [0, 0], [88, 12]])).round(1).tolist()
    [nan, 3.4, nan, 0.0]
    """
    found = np.full(len(table), np.nan)
    there = np.flatnonzero(table.sum(axis=1))
    for place, date in enumerate(there[1:], start=1):
        found[date] = max(0.0, stability_index(table[date], table[there[:place]])[0].min())
    return found


def tolerated(table: Counts, gap: int) -> float:
    """Return the effect from which a column of these counts (dates × bins) is drifted, `gap` months on, chance left aside."""
    return max(LARGE, ORDINARY_MARGIN * ordinary(table, gap))


def _judge(
    name: str,
    spread: Spread,
    values: FloatArray,
    profile: Profile,
    as_of: pd.Timestamp,
    accounts: int,
    columns: int,
    minimum: int,
) -> Drift:
    """Judge one column; `columns` are judged in all."""
    table = spread.table
    there = np.flatnonzero(table.sum(axis=1))
    table, dates = table[there], [profile.dates[place] for place in there]
    missing_now = float(np.isnan(values).mean()) if len(values) else 0.0
    weight = 1.0 if name == SCORE else profile.weights[name]
    if accounts < minimum or not dates:
        return Drift(name, "unknown", 0.0, LARGE, None, len(values), 0.0, missing_now, weight)
    table_of_year = table[-_YEAR:]
    index, bins = stability_index(spread.count(values), table_of_year)
    nearest = int(index.argmin())
    effect = max(0.0, float(index[nearest]))
    then = table_of_year[nearest]
    gap = max(1, round((as_of - pd.Timestamp(dates[-1])).days / _MONTH_DAYS))
    freedom = max(bins - 1, 1)
    chance = (chi2.isf(FALSE_ALARM / columns, freedom) - freedom) * (1 / accounts + 1 / table_of_year.sum())
    threshold = max(float(chance), tolerated(table, gap))
    level: Level = "large" if effect >= threshold else "moderate" if effect >= max(MODERATE, threshold / 2) else "none"
    missing_then = float(then[-1] / then.sum())
    return Drift(name, level, effect, threshold, dates[-_YEAR:][nearest], len(values), missing_then, missing_now, weight)


def _sentences(large: Sequence[Drift], sources: Mapping[str, str], p: FloatArray, base_rate: float) -> list[str]:
    """What moved, one sentence per table of the source, the heaviest first."""
    told = []
    groups: dict[str, list[Drift]] = {}
    for each in large:
        if each.feature == SCORE:
            told.append(
                f"The predictions lie unlike any month that the model learnt from ({_measured(each)}): "
                f"{p.mean():.1%} on average, and the base rate of its training was {base_rate:.1%}."
            )
        else:
            groups.setdefault(sources.get(each.feature, each.feature), []).append(each)
    for source, moved in sorted(groups.items(), key=lambda item: -sum(each.weight for each in item[1])):
        share = sum(each.weight for each in moved)
        told.append(
            f"{source}: {len(moved)} input{'s' if len(moved) > 1 else ''} moved, most of all {moved[0].feature} "
            f"({_measured(moved[0])}); {share:.1%} of what moves the predictions. {_to_do(moved)}"
        )
    return told


def _measured(one: Drift) -> str:
    measured = f"PSI {one.effect:.2f}, {one.threshold:.2f} tolerated"
    if abs(one.missing_now - one.missing_then) >= 0.05:
        measured += f", missing {one.missing_then:.0%} then and {one.missing_now:.0%} now"
    return measured


def _to_do(moved: Sequence[Drift]) -> str:
    if any(each.missing_now - each.missing_then >= 0.5 for each in moved):
        return "Check whether this source still comes in before training again."
    return "Check its units and mapping; if the company itself has changed, train again."


def watched_dates(
    dates: pd.DatetimeIndex, until: pd.Timestamp, horizons: Iterable[int], *, grace_days: int, months: int
) -> pd.DatetimeIndex:
    """Return which of the training table's `dates` up to `until` are watched, ascending.

    The newest `months` of them, a month apart, and for each horizon (days) the newest that has matured, so that what was
    promised is always held against something.

    >>> starts = pd.date_range("2025-01-01", "2026-07-01", freq="MS")
    >>> watched_dates(starts, starts[-1], [90, 180], grace_days=30, months=2).strftime("%y-%m").tolist()
    ['25-12', '26-03', '26-06', '26-07']
    """
    apart = pd.DatetimeIndex(monthly(dates[dates <= until]))
    settled = [apart[apart <= until - pd.Timedelta(days=days + grace_days)] for days in set(horizons)]
    return pd.DatetimeIndex(sorted({*apart[-months:], *(each[-1] for each in settled if len(each))}))


@dataclass(frozen=True)
class Retraining:
    """Whether models should be trained again, and why, or why not."""

    due: bool
    why: list[str]


def retraining(settings: WatchSettings, age_days: float | None, alarms: Sequence[str]) -> Retraining:
    """Decide from the days of data since the newest training (None: there was none) and what a watch has raised.

    >>> retraining(WatchSettings(), 31, []).due, retraining(WatchSettings(), 3, ["usage moved."]).due
    (True, False)
    """
    if age_days is None:
        return Retraining(True, ["No model was trained yet."])
    if age_days >= settings.every_days:
        return Retraining(
            True, [f"The newest training is {age_days:.0f} days old; every_days is {settings.every_days}.", *alarms]
        )
    if not alarms or not settings.on_drift:
        waits = f"The newest training is {age_days:.0f} days old, and the next is due after {settings.every_days}."
        return Retraining(False, [waits, *(["on_drift is off: what was raised starts no training."] if alarms else [])])
    if age_days < settings.wait_days:
        waits = f"The newest training is {age_days:.0f} days old; after drift the next waits for wait_days, {settings.wait_days}."
        return Retraining(False, [*alarms, waits])
    return Retraining(True, list(alarms))
