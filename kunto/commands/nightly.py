"""`kunto nightly`: everything that a night needs."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import pandas as pd
import typer
from rich.table import Table

from kunto import jobs
from kunto.commands.options import DEFAULT_WORKSPACE, AsOf, JsonOption, WorkspaceOption
from kunto.console import err, out, print_json, watching
from kunto.nightly import Due, due_steps, run_night
from kunto.workspace import Workspace
from serving.nightly import NIGHTLY
from serving.store import Store
from serving.store.instants import now
from serving.store.jobs_records import JobHeldError, JobRun, JobStep


def nightly(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_of: AsOf = None,
    again: Annotated[bool, typer.Option("--again", help="Do a night anew that is done already.")] = False,
    json: JsonOption = False,
) -> None:
    """Do everything that a night needs: check the data, score, steps of plays due, what moved, tidying up, watching the models.

    Safe to run twice, and after a crash: it goes on where it stopped. Exit 1 while another process does it.
    """
    place = Workspace(workspace)
    instant = _instant(place, as_of)
    with Store.open(place.store_url) as store:
        before = store.jobs.last(NIGHTLY)
        try:
            with watching() as watch:
                job_run, was_done = run_night(place, store, instant, watch, again=again)
        except JobHeldError:
            raise
        except Exception:
            failed = store.jobs.last(NIGHTLY)
            if failed is not None and failed != before:
                _show(failed, due_steps(store, now()), was_done=False, json=json)
            raise
        _show(job_run, due_steps(store, now()), was_done=was_done, json=json)


def _instant(place: Workspace, as_of: datetime | None) -> pd.Timestamp:
    """The instant asked for, or the data's end; neither needs the tables."""
    until = jobs.data_until(place.mapping)
    instant = until if as_of is None else pd.Timestamp(as_of)
    if instant > until:
        raise typer.BadParameter(f"--as-of {instant} lies after the end of the data: give an instant up to {until}")
    return instant


def _show(job_run: JobRun, due: dict[str | None, Due], *, was_done: bool, json: bool) -> None:
    if json:
        print_json(_record(job_run, due, was_done=was_done))
        return
    if was_done and job_run.finished_at is not None:
        told = f"The night of {job_run.as_of} was already done at {job_run.finished_at:%Y-%m-%d %H:%M:%S} UTC."
        err.print(f"{told} Newer rows? Move data_until in kunto.toml. Anew all the same? Add --again.", soft_wrap=True)
    table = Table(title=f"Night of {job_run.as_of}: {job_run.state}", title_justify="left")
    for heading in ("Step", "State", "Took", "What"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "Took" else "left")
    for step in job_run.steps:
        what = _WORDS[step.step](step.result) if step.state == "done" else step.error or ""
        table.add_row(step.step, step.state, _took(step), what)
    out.print(table)
    for csm, steps in due.items():
        out.print(f"{csm or 'without a CSM'}: {steps.due} steps of plays due, {steps.overdue} of them overdue")


def _record(job_run: JobRun, due: dict[str | None, Due], *, was_done: bool) -> dict[str, Any]:
    plays = [{"csm": csm, **asdict(steps)} for csm, steps in due.items()]
    return _dated(asdict(job_run)) | {
        "was_done": was_done,
        "steps": [_dated(asdict(step)) | {"seconds": _seconds(step)} for step in job_run.steps],
        "plays_due": plays,
    }


def _dated(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}


def _seconds(step: JobStep) -> float | None:
    return None if step.finished_at is None else (step.finished_at - step.started_at).total_seconds()


def _took(step: JobStep) -> str:
    seconds = _seconds(step)
    return "" if seconds is None else f"{seconds:,.1f} s"


def _data(result: dict[str, Any]) -> str:
    rows = result["rows"]
    told = f"{sum(rows.values()):,} rows in {len(rows)} tables, which end {result['age_days']:,.0f} days ago"
    told += f"; {result['warnings']} warnings" if result["warnings"] else ""
    whole = result.get("usage_read_whole")  # nights before there were kept rollups say nothing of it
    return f"{told}; all of usage was read: {whole}" if whole else told


def _score(result: dict[str, Any]) -> str:
    told = f"{result['accounts']:,} accounts, {result['leaving']:,} of them leaving"
    if result["mean_p_churn"] is None:
        return told
    return f"{told}; P(churn) {result['mean_p_churn']:.1%} on average, base rate {result['base_rate']:.1%}"


def _plays(result: dict[str, Any]) -> str:
    return f"{result['due']:,} steps due, {result['overdue']:,} of them overdue; {result['woken']:,} plays woken"


def _drift(result: dict[str, Any]) -> str:
    told = ", ".join(f"{band.replace('_', ' ')} {count:,}" for band, count in result["bands"].items())
    if result["since"] is None:
        return told
    moved = ", ".join(f"{result[name]:,} {name}" for name in ("better", "worse", "new", "gone"))
    return f"{told}; since {result['since']}: {moved}"


def _housekeeping(result: dict[str, Any]) -> str:
    return f"{result['deliveries']:,} old deliveries to webhooks dropped"


def _watch(result: dict[str, Any]) -> str:
    told = f"{len(result['alarms'])} alarms of drift or shortfall; `kunto watch` tells more" if result["alarms"] else "no alarm"
    if result["trained"]:
        return f"{told}; trained {', '.join(each['name'] for each in result['trained'])}"
    return f"{told}; training is due: `kunto watch --retrain`" if result["training_due"] else told


_WORDS = {
    "data": _data,
    "score": _score,
    "plays": _plays,
    "drift": _drift,
    "housekeeping": _housekeeping,
    "watch": _watch,
}
