"""What a night needs, step by step: check the data, score, see what is due and what moved, tidy up (`kunto nightly`).

A step that is done is not done again: after a crash the next process goes on with the same run. What steps report are
numbers and names of tables and plays, never a customer's name or a value of the data.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import pandas as pd

from kunto import jobs, watching
from kunto.console import Watch
from kunto.workspace import Workspace
from models.health import BANDS
from serving.nightly import NIGHTLY
from serving.store import Line, Store
from serving.store.authors import Author
from serving.store.instants import now
from serving.store.jobs_records import JobRun
from serving.store.play_records import Play
from serving.store.scored_account import CHURN_HORIZON_DAYS
from serving.webhooks import KEPT

_DAY = timedelta(days=1)
_PAGE = 1000
_WORST_FIRST = [band for band, _ in reversed(BANDS)]


@dataclass(frozen=True)
class Night:
    """What a step works on; `passed` holds what the steps before it reported."""

    workspace: Workspace
    store: Store
    company: jobs.Company
    job_run: JobRun
    passed: Mapping[str, Mapping[str, Any]]
    watch: Watch

    @property
    def as_of(self) -> datetime:
        """The instant that the night speaks of."""
        return self.job_run.as_of


def run_night(
    workspace: Workspace, store: Store, as_of: pd.Timestamp, watch: Watch, *, again: bool = False
) -> tuple[JobRun, bool]:
    """Do the night of an instant, or go on with it; return the run, and whether it was done before (`again`: do it anew).

    Raises JobHeldError while another process does it, DataError where the data cannot be used. What was done until an
    error is kept, and `store.jobs.last(NIGHTLY)` tells of it.
    """
    workspace.require_writable()
    with store.jobs.lock(NIGHTLY):
        job_run = store.jobs.begin(NIGHTLY, as_of.to_pydatetime(), again=again)
        if job_run.state == "done":
            return job_run, True
        passed: dict[str, dict[str, Any]] = {**job_run.passed}
        watch.stage("data")
        # always: later steps need the tables, and they may have changed since
        with store.jobs.step(job_run, "data") as result:
            company = _load(workspace, store, job_run.as_of, result)
        passed["data"] = result
        night = Night(workspace, store, company, job_run, passed, watch)
        for name, do in STEPS.items():
            if name not in passed:
                watch.stage(name)
                with store.jobs.step(job_run, name) as result:
                    result |= do(night)
                passed[name] = result
        return store.jobs.finish(job_run, _report(passed)), False


def _load(workspace: Workspace, store: Store, as_of: datetime, result: dict[str, Any]) -> jobs.Company:
    """Load and check the tables, and add what the service took in; what was found is reported even where it is fatal."""
    company = jobs.open_company(workspace, [pd.Timestamp(as_of)])
    found = [
        {"severity": one.severity, "table": one.table, "column": one.column, "rule": one.rule, "rows": one.rows}
        for one in (*company.report.fatal, *company.report.warnings)
    ]
    result |= {"fatal": len(company.report.fatal), "warnings": len(company.report.warnings), "findings": found}
    company = company.usable().with_events(store, as_of)
    result |= {
        "data_until": company.data_until.isoformat(),
        "age_days": max(timedelta(), now() - company.data_until.to_pydatetime()) / _DAY,
        "data_version": company.data_version,
        "rows": {name: company.rows(name) for name in company.tables},
        # what stands still here has stopped to come in
        "newest": {name: newest and newest.isoformat() for name in company.tables for newest in [company.newest(name)]},
        "usage_read_whole": company.source.usage_read_whole,
    }
    return company


def _score(night: Night) -> dict[str, Any]:
    place = night.workspace
    scored, run = jobs.score_run(
        place,
        night.company,
        pd.Timestamp(night.as_of),
        place.settings.training,
        night.watch,
        run_key=f"{NIGHTLY}-{night.job_run.job_run_id}",
    )
    churn = [
        prediction
        for record in scored.records
        for prediction in record["predictions"] or ()
        if (prediction["outcome"], prediction["horizon_days"]) == ("churn", CHURN_HORIZON_DAYS)
    ]
    return {
        "run_id": run.run_id,
        "versions": run.versions,
        "accounts": len(scored.records),
        "leaving": sum(record["leaving"] for record in scored.records),
        "predicted": len(churn),
        "mean_p_churn": sum(one["probability"] for one in churn) / len(churn) if churn else None,
        "base_rate": churn[0]["base_rate"] if churn else None,
    }


@dataclass(frozen=True)
class Due:
    """Steps of running plays that are due by the end of a day, and those of them that were due before it."""

    due: int
    overdue: int


def due_steps(store: Store, at: datetime) -> dict[str | None, Due]:
    """Return CSM → steps not taken that are due by the end of the day of `at` (UTC), by name, None last: nobody's."""
    run = store.portfolio_run()
    csm = {line.account_id: line.csm for line in store.lines(run.run_id)} if run else {}
    today = datetime.combine(at.date(), time())
    due: Counter[str | None] = Counter()
    overdue: Counter[str | None] = Counter()
    for play in _running(store):
        open_steps = [step.due for step in play.steps if step.done_at is None]
        due[csm.get(play.account_id)] += sum(instant < today + _DAY for instant in open_steps)
        overdue[csm.get(play.account_id)] += sum(instant < today for instant in open_steps)
    names = sorted((name for name in due if due[name]), key=lambda name: (name is None, name or ""))
    return {name: Due(due[name], overdue[name]) for name in names}


def _running(store: Store) -> Iterator[Play]:
    page = store.plays.list(state="running", limit=_PAGE)
    while page:
        yield from page
        page = store.plays.list(state="running", limit=_PAGE, after=page[-1].play_id)


def _plays(night: Night) -> dict[str, Any]:
    """Wake the plays that were snoozed until now, and count the steps due: by today's calendar, whatever the data's end is."""
    at = now()
    woken = night.store.plays.wake(Author("job", NIGHTLY), at)
    due = due_steps(night.store, at).values()
    return {"woken": woken, "due": sum(one.due for one in due), "overdue": sum(one.overdue for one in due)}


def _drift(night: Night) -> dict[str, Any]:
    """How the portfolio moved since the portfolio was last scored at an earlier instant."""
    lines = night.store.lines(night.passed["score"]["run_id"])
    before = night.store.portfolio_run(as_of=night.as_of - timedelta(microseconds=1))
    return {
        "bands": bands(lines),
        "since": before.as_of.isoformat() if before else None,
        **(movements(lines, night.store.lines(before.run_id)) if before else {}),
    }


def bands(lines: list[Line]) -> dict[str, int]:
    """Accounts per band, the worst first; `none`: no score, or a provisional one."""
    counted = Counter(line.band or "none" for line in lines)
    return {band: counted[band] for band in (*_WORST_FIRST, "none")}


def movements(lines: list[Line], before: list[Line]) -> dict[str, Any]:
    """Accounts in a better or worse band than before, new and gone ones, and the mean P(churn) then."""
    then = {line.account_id: line for line in before}
    steps = [
        _WORST_FIRST.index(line.band) - _WORST_FIRST.index(old)
        for line in lines
        if line.band and line.account_id in then and (old := then[line.account_id].band)
    ]
    p_churn = [line.p_churn for line in before if line.p_churn is not None]
    return {
        "better": sum(step > 0 for step in steps),
        "worse": sum(step < 0 for step in steps),
        "new": len({line.account_id for line in lines} - then.keys()),
        "gone": len(then.keys() - {line.account_id for line in lines}),
        "mean_p_churn_before": sum(p_churn) / len(p_churn) if p_churn else None,
    }


def _housekeeping(night: Night) -> dict[str, Any]:
    """Drop what is kept for a while only."""
    return {"deliveries": night.store.outbox.prune(now() - KEPT)}


def _watch(night: Night) -> dict[str, Any]:
    """Watch the models that serve; train where that is due, if [watch] lets a night do it. The gates decide what serves."""
    found = watching.watch_models(night.workspace, night.company, night.watch, months=1)
    trained = []
    if found.retraining.due and night.workspace.settings.watch.nightly == "train":
        settings = night.workspace.settings.training
        # a training picks the product's own features out of all rows
        whole = jobs.open_company(night.workspace).usable().with_events(night.store, night.as_of)
        trained = jobs.train_models(night.workspace, whole, settings, night.watch, horizon_given=False)
    return {
        "as_of": found.as_of and found.as_of.isoformat(),
        "alarms": found.alarms,
        "training_due": found.retraining.due and not trained,
        "why": found.retraining.why,
        "trained": [{name: record[name] for name in ("name", "version")} for record in trained],
    }


#: The steps after the data, in their order; the longest comes last.
STEPS: Mapping[str, Callable[[Night], dict[str, Any]]] = {
    "score": _score,
    "plays": _plays,
    "drift": _drift,
    "housekeeping": _housekeeping,
    "watch": _watch,
}

#: Step → what of it the report of a night repeats, for those who ask how the last one went.
_REPORTED = {
    "data": ("data_until", "data_version", "warnings"),
    "score": ("run_id", "accounts", "mean_p_churn", "base_rate"),
    "plays": ("due", "overdue"),
    "drift": ("bands",),
    "watch": ("alarms", "training_due"),
}


def _report(passed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: passed[step][name] for step, names in _REPORTED.items() for name in names}
