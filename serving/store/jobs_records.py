"""What `Jobs` gives out: a lock, a run, its steps. Every instant is naive UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from serving.store.errors import ConflictError

JobState = Literal["running", "done", "failed"]


@dataclass(frozen=True)
class JobLock:
    """Who runs a job, since when; void from `lapses_at` on, unless renewed. `owner` is host/process/random."""

    name: str
    owner: str
    since: datetime
    lapses_at: datetime

    @property
    def holder(self) -> str:
        """The owner in words.

        >>> JobLock("nightly", "db1/4711/9f2c", datetime(2026, 3, 1), datetime(2026, 3, 1)).holder
        'process 4711 on db1'
        """
        host, process, _ = self.owner.rsplit("/", 2)
        return f"process {process} on {host}"


@dataclass(frozen=True)
class JobStep:
    """One step of a run, as its last attempt left it; `error` is the kind of error that ended it."""

    step: str
    state: JobState
    started_at: datetime
    finished_at: datetime | None
    result: dict[str, Any]
    error: str | None


@dataclass(frozen=True)
class JobRun:
    """One run of a job with its steps, in the order in which they were first begun.

    `finished_at` is None while it runs, and where it crashed. `report` is empty until it is done.
    """

    job_run_id: int
    name: str
    as_of: datetime
    started_at: datetime
    finished_at: datetime | None
    state: JobState
    report: dict[str, Any]
    steps: tuple[JobStep, ...]

    @property
    def passed(self) -> dict[str, dict[str, Any]]:
        """Step → result, of the steps that are done: a run that is gone on with passes over them."""
        return {step.step: step.result for step in self.steps if step.state == "done"}


class JobHeldError(ConflictError):
    """Another process runs the job."""

    def __init__(self, lock: JobLock, where: str):
        super().__init__(
            f"the job {lock.name!r} is run by {lock.holder} since {lock.since:%Y-%m-%d %H:%M:%S} UTC",
            where,
            f"Wait until it has ended; if it has crashed, its lock lapses at {lock.lapses_at:%H:%M:%S} UTC: try again then.",
        )
        self.lock = lock
