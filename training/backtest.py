"""The pipeline along past dates: at each date fitted on what was known then, and tested on the dates up to the next one.

Every model stands on one timeline: ours, the four baselines, and the peers of `training.peers`. Nothing is registered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from models.matrix import FloatArray
from models.scorecard import Scorecard
from training import metrics, peers
from training.bases import Bases, bases_of, product_features, refuse_seen, sketch
from training.comparison import OURS, compare
from training.dataset import Dataset, at_risk_rows, build_dataset, snapshot_dates
from training.exposure import Plays
from training.gate import ENOUGH
from training.leaks import Leak, audit, refuse
from training.period import Period, period
from training.settings import Task, TrainingSettings, tasks
from training.train import train_period

#: Past dates of a backtest where neither its start nor its end is given.
WINDOWS = 6
#: Days that a window spans where its length is not given: two months.
WINDOW_DAYS = 61


@dataclass(frozen=True)
class Window:
    """The dates T that are tested by models of what was known at `start`: start ≤ T < end."""

    start: pd.Timestamp
    end: pd.Timestamp


@dataclass(frozen=True)
class Backtest:
    """What a backtest found.

    `records`: one per task and past date, as `kunto train --json` has them, the peers among the baselines. `figures`: one row
    per task, window and model, and one per task and model over all windows (`pooled`), with the columns of
    `training.comparison.compare`. `left_out`: every window that could not be tested, and why, in sentences.
    """

    records: list[dict[str, Any]]
    figures: pd.DataFrame
    left_out: list[str] = field(default_factory=list)


def windows(
    dates: pd.DatetimeIndex, until: pd.Timestamp, *, horizon_days: int, settings: TrainingSettings, step: int | None = None
) -> list[Window]:
    """Return the windows, ascending, of `step` dates each (default: two months' worth), all mature at the horizon.

    They are counted back from the last mature date, and from `settings.test_from` on where that is given. A window at whose
    start no training date had matured yet is none.

    >>> dates = pd.date_range("2025-01-01", "2025-12-01", freq="MS")
    >>> found = windows(dates, pd.Timestamp("2026-01-01"), horizon_days=90, settings=TrainingSettings())
    >>> [(str(window.start.date()), str(window.end.date())) for window in found]
    [('2025-06-01', '2025-08-01'), ('2025-08-01', '2025-10-01')]
    """
    size = step or (2 if settings.every == "month" else max(round(WINDOW_DAYS / settings.every), 1))
    reserve = pd.Timedelta(days=horizon_days + settings.grace)
    tested = dates[dates <= until - reserve]
    if settings.test_to is not None:
        tested = tested[tested < pd.Timestamp(settings.test_to)]
    if settings.test_from is not None:
        tested = tested[tested >= pd.Timestamp(settings.test_from)]
        groups = [tested[at : at + size] for at in range(0, len(tested), size)]
    else:
        groups = [tested[max(at - size, 0) : at] for at in range(len(tested), 0, -size)][::-1]
    found = []
    for group in groups:
        later = dates[dates > group[-1]]
        if (dates <= group[0] - reserve).any():
            found.append(Window(group[0], later[0] if len(later) else until))
    return found


def backtest(
    tables: Mapping[str, Any],
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
    horizon_given: bool = False,
    step: int | None = None,
    scorecards: Mapping[str, Scorecard] | None = None,
    bases: Bases | None = None,
    stage: Callable[[str], None] = lambda name: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Train and test every task at each past date (`windows`), beside the baselines and the peers.

    `settings.test_from` and `test_to` bound all that is tested; without both, each task has its last six windows. All tasks
    share one timeline: the windows of the shortest horizon, of which a longer one has those that are mature at it. Each of
    `peers.hand_set()` and of `scorecards` (name → scorecard) is a peer called `scorecard:NAME`. A window is left out, and
    `left_out` says so, where fewer than five accounts with the outcome are known in training. The product's own features are
    picked by what was known before the first window. `bases` and LeakError: as in `training.train.train`. ValueError where no
    window is left.
    """
    chosen = tasks(settings, money="mrr" in tables["subscriptions"].columns, horizon_given=horizon_given)
    brought = bases_of(chosen, bases, settings.event)
    stage("dates")
    dates = _dates_at_risk(tables, data_until, settings)
    planned = _planned(chosen, dates, data_until, settings, step)
    if not any(planned.values()):
        days = min(task.horizon_days for task in chosen) + settings.grace
        raise ValueError(
            f"no past date can be tested: somebody was at risk from {dates.min():%Y-%m-%d} on, the data ends "
            f"{data_until:%Y-%m-%d}, and an outcome is known after {days} days (horizon and grace), which training needs and "
            "then the test again; shorten --horizon, or give another --test-from or --test-to"
        )
    stage("features")
    earliest = min(window.start for own in planned.values() for window in own)
    if brought:
        refuse_seen(brought, sketch(tables["subscriptions"]), earliest)
    known_first = settings.model_copy(update={"test_from": earliest})
    horizons = [task.horizon_days for task in chosen]
    given: dict[str, Any] = {"horizons": horizons, "required": product_features(brought), "progress": progress}
    data = build_dataset(tables, data_until=data_until, settings=known_first, **given)
    cards = peers.hand_set() | dict(scorecards or {})
    points = {f"scorecard:{name}": peers.points(card, name, data, set(tables)) for name, card in cards.items()}
    run = _Run(tables, data, data_until, settings, points, Plays(tables), brought)
    stage("leak audit")
    run = replace(run, leaks=run.audited(planned))
    stage("past dates")
    return run.over(planned, progress)


def _dates_at_risk(tables: Mapping[str, Any], until: pd.Timestamp, settings: TrainingSettings) -> pd.DatetimeIndex:
    """The dates of the training table on which some account is at risk, ascending; contracts may be older than the data."""
    first = tables["subscriptions"].started_at.min().execute()
    if pd.isna(first):
        raise ValueError("subscriptions is empty: no account was ever active, so there is no past date to go back to")
    dates = snapshot_dates(pd.Timestamp(first), until, settings)
    found = at_risk_rows(tables, dates, data_until=until, settings=settings)["as_of"]
    if found.empty:
        raise ValueError(f"no account was active and observed on any of {len(dates)} dates before {until}: check data_until")
    return pd.DatetimeIndex(found.drop_duplicates().sort_values())


def _planned(
    chosen: list[Task], dates: pd.DatetimeIndex, until: pd.Timestamp, settings: TrainingSettings, step: int | None
) -> dict[Task, list[Window]]:
    """The windows of each task."""
    shortest = min(task.horizon_days for task in chosen)
    shared = windows(dates, until, horizon_days=shortest, settings=settings, step=step)
    bounded = settings.test_from is not None or settings.test_to is not None
    found = {}
    for task in chosen:
        reserve = pd.Timedelta(days=task.horizon_days + settings.grace)
        own = [
            window
            for window in shared
            if dates[dates < window.end][-1] + reserve <= until and (dates + reserve <= window.start).any()
        ]
        found[task] = own if bounded else own[-WINDOWS:]
    return found


@dataclass(frozen=True)
class _Run:
    """What every window of a backtest shares; `points` are the totals of each scorecard, by row of the data."""

    tables: Mapping[str, Any]
    data: Dataset
    until: pd.Timestamp
    settings: TrainingSettings
    points: Mapping[str, FloatArray]
    plays: Plays
    bases: Bases = field(default_factory=dict)
    leaks: Sequence[Leak] = ()

    def audited(self, planned: Mapping[Task, list[Window]]) -> list[Leak]:
        """The leaks that are allowed by name, as before a training at the last date; LeakError where one is not."""
        last = {task: self._period(task, own[-1]).known.labelled() for task, own in planned.items() if own}
        found = audit(self.tables, self.data, last, data_until=self.until, settings=self.settings)
        return refuse(found, self.settings.allow_leaks)

    def over(self, planned: Mapping[Task, list[Window]], progress: Callable[[int, int], None]) -> Backtest:
        """Test every task at each of its windows."""
        found = Backtest([], pd.DataFrame(), [])
        parts, done, total = [], 0, sum(map(len, planned.values()))
        for task, own in planned.items():
            if not own:
                found.left_out.append(f"{task.name}: no past date is mature at {task.horizon_days} days with training before it")
            tested = []
            for window in own:
                at = self.at(task, window)
                if isinstance(at, str):
                    found.left_out.append(f"{task.name} at {window.start:%Y-%m-%d}: {at}")
                else:
                    record, rows = at
                    found.records.append(record)
                    tested.append((window, rows))
                done += 1
                progress(done, total)
            parts += self._figures(task, tested)
        if not parts:
            raise ValueError("no past date could be tested:\n  " + "\n  ".join(found.left_out))
        return replace(found, figures=pd.concat(parts, ignore_index=True))

    def at(self, task: Task, window: Window) -> tuple[dict[str, Any], pd.DataFrame] | str:
        """The record of a window and its tested rows with every model's probabilities; or why there is none."""
        cut = self._period(task, window)
        positive = cut.known.positive_accounts()
        if positive < ENOUGH:
            return f"accounts with the outcome in training: {positive}; at least {ENOUGH} are needed to judge a model"
        base = self.bases[task.name].model if task.name in self.bases else None
        given: dict[str, Any] = {"settings": self.settings, "base": base, "leaks": list(self.leaks)}
        fitted = train_period(self.data, task, cut, serve=False, **given)
        if fitted.test.empty:
            return " ".join(fitted.record["gate"]["reasons"])
        p = self._peers(cut)
        value, seed = self.data.arr(cut.test_at), self.settings.seed
        beside = {name: metrics.evaluate(cut.test.y, each, cut.test.accounts, value=value, seed=seed) for name, each in p.items()}
        record = fitted.record | {"baselines": fitted.record["baselines"] | beside}
        rows = fitted.test.assign(base_rate=cut.known.labelled().y.mean(), **p)
        return record, rows[["account_id", "label", "base_rate", OURS, *record["baselines"]]]

    def _period(self, task: Task, window: Window) -> Period:
        inside = self.settings.model_copy(update={"test_from": window.start, "test_to": window.end})
        return period(self.tables, self.data, task, data_until=self.until, settings=inside, plays=self.plays)

    def _peers(self, cut: Period) -> dict[str, FloatArray]:
        """Each peer's probabilities of the tested rows."""
        has = ~np.isnan(cut.known.y)
        known, at = cut.known.take(has), cut.known_at[has]
        found = {name: fit(known, cut.test.frame, seed=self.settings.seed) for name, fit in peers.FITTED.items()}
        cards = {name: peers.scorecard(points[at], known.y, points[cut.test_at]) for name, points in self.points.items()}
        return found | cards

    def _figures(self, task: Task, tested: list[tuple[Window, pd.DataFrame]]) -> list[pd.DataFrame]:
        """The models compared in each window, and over all of them."""
        if not tested:
            return []
        whole = Window(tested[0][0].start, tested[-1][0].end)
        together = pd.concat([rows for _, rows in tested], ignore_index=True)
        found = []
        for window, rows, pooled in (*((*each, False) for each in tested), (whole, together, True)):
            compared = compare(rows, list(rows.columns[3:]), seed=self.settings.seed)
            where = {"name": task.name, "outcome": task.outcome, "horizon_days": task.horizon_days}
            where |= {"from": window.start, "to": window.end, "pooled": pooled}
            found.append(pd.concat([pd.DataFrame([where] * len(compared)), compared], axis=1))
        return found
