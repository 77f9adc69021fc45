"""What the service tells of the nightly job: how the last one went, and of which instant the data speaks."""

from datetime import datetime, timedelta
from typing import Any

from serving.store import Store
from serving.store.instants import now

#: The job's name, under which its lock and its runs are kept.
NIGHTLY = "nightly"
_HOUR = timedelta(hours=1)


def last_run_summary(store: Store, at: datetime | None = None) -> dict[str, Any]:
    """Return how the last night went, and how old the data is at `at` (None: now).

    `state`: never, running, interrupted (its process is gone: the next one goes on), failed or done; `step`: the one that
    runs, or at which it ended unfinished. `data_as_of` and `data_age_hours` are of the last night that was done, whatever
    came after it; the age is that of the data's end, never below 0. Instants are naive UTC, null where there was no such night.

    >>> with Store.open("sqlite://") as store:
    ...     summary = last_run_summary(store)
    >>> summary["state"], summary["data_as_of"]
    ('never', None)
    """
    last, done = store.jobs.last(NIGHTLY), store.jobs.last_done(NIGHTLY)
    state, step = str(last.state if last else "never"), None
    if last and last.state != "done":
        step = next((step.step for step in reversed(last.steps) if step.state != "done"), None)
        if last.state == "running" and store.jobs.holder(NIGHTLY) is None:
            state = "interrupted"
    until = done and datetime.fromisoformat(done.report["data_until"])
    age = max(timedelta(), (at or now()) - until) / _HOUR if until else None
    return {
        "job": NIGHTLY,
        "state": state,
        "step": step,
        "as_of": last and last.as_of,
        "started_at": last and last.started_at,
        "finished_at": last and last.finished_at,
        "data_as_of": done and done.as_of,
        "data_until": until,
        "data_age_hours": age,
        "report": done and done.report,
    }
