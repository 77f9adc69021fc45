"""`Jobs`: one process at a time runs a job; what it has done is kept step by step, so that the next goes on from there."""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from serving.store.database import Database
from serving.store.errors import ConflictError, StoreError, UnknownRecordError
from serving.store.instants import now, utc
from serving.store.jobs_records import JobHeldError, JobLock, JobRun, JobState, JobStep
from serving.store.tables.jobs import JobLockRow, JobRunRow, JobStepRow

#: How long a lock outlives a process that no longer renews it: several times what one writer waits for another.
LEASE = timedelta(minutes=2)
#: A lock is renewed this many times per lease, so that some may be late, or refused by a busy database.
_RENEWALS = 6


class Jobs:
    """Locks, runs and steps of jobs.

    A run belongs to a job's name and an instant: one that was not finished is gone on with. Only who holds the lock of the
    name writes; a process that was taken for dead and wakes up again is refused with ConflictError. Reports and results
    are numbers and the names of tables and plays: never put a customer's name, or a value of the data, into them.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = now):
        self._database = database
        self._clock = clock
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"

    # The lock

    @contextmanager
    def lock(self, name: str, lease: timedelta = LEASE) -> Iterator[JobLock]:
        """Hold the lock of a job for the block, renewed by a thread; raises JobHeldError where another one has it."""
        taken = self._take(name, lease)
        stop = threading.Event()
        renewing = threading.Thread(target=self._keep_renewing, args=(name, lease, stop), name=f"lock {name}", daemon=True)
        renewing.start()
        try:
            yield taken
        finally:
            stop.set()
            renewing.join()
            with suppress(StoreError):  # it lapses by itself
                self._release(name)

    def holder(self, name: str) -> JobLock | None:
        """Return the lock of a job, None where nobody holds it."""
        with self._database.reading() as connection:
            lock = _lock(connection, name)
        return lock if lock is not None and lock.lapses_at > self._clock() else None

    def _take(self, name: str, lease: timedelta) -> JobLock:
        with self._database.writing() as connection:
            present = self._clock()  # read once this writer's turn has come
            held = _lock(connection, name)
            if held is not None and held.lapses_at > present:
                raise JobHeldError(held, self._database.where)
            connection.execute(delete(JobLockRow).where(JobLockRow.name == name))
            taken = JobLock(name, self._owner, present, present + lease)
            connection.execute(insert(JobLockRow), [asdict(taken)])
        return taken

    def _keep_renewing(self, name: str, lease: timedelta, stop: threading.Event) -> None:
        while not stop.wait(lease.total_seconds() / _RENEWALS):
            with suppress(StoreError):  # the next renewal may find the database again
                self._renew(name, lease)

    def _renew(self, name: str, lease: timedelta) -> None:
        """Renew the lock, also one that has lapsed without being taken by another."""
        with self._database.writing() as connection:
            connection.execute(self._own(update(JobLockRow), name).values(lapses_at=self._clock() + lease))

    def _release(self, name: str) -> None:
        with self._database.writing() as connection:
            connection.execute(self._own(delete(JobLockRow), name))

    def _own(self, statement: Any, name: str) -> Any:
        return statement.where(JobLockRow.name == name, JobLockRow.owner == self._owner)

    def _must_hold(self, connection: Connection, name: str) -> None:
        held = _lock(connection, name)
        if held is None or held.owner != self._owner:
            by = f"; {held.holder} has it" if held is not None else ""
            raise ConflictError(
                f"this process does not hold the lock of job {name!r} (any more){by}",
                self._database.where,
                "Run the job again: it goes on where it stopped, or says that it is done.",
            )

    # Runs

    def begin(self, name: str, as_of: datetime | date | str, *, again: bool = False) -> JobRun:
        """Begin the run of a job at an instant, or go on with the one that was not finished, and return it.

        One that is done is returned as it is, unless `again` asks for another. Runs of other instants that a crash left
        running are `failed` from now on. Raises ConflictError without the lock.
        """
        instant = utc(as_of)
        with self._database.writing() as connection:
            self._must_hold(connection, name)
            # whoever left them running no longer lives: the lock is here
            left = update(JobRunRow).where(JobRunRow.name == name, JobRunRow.state == "running")
            connection.execute(left.values(state="failed", finished_at=self._clock()))
            there = select(JobRunRow.job_run_id, JobRunRow.state).where(JobRunRow.name == name, JobRunRow.as_of == instant)
            latest = connection.execute(there.order_by(JobRunRow.job_run_id.desc()).limit(1)).first()
            if latest is None or again:
                return self._run(connection, self._insert_run(connection, name, instant))
            if latest.state == "failed":
                row = update(JobRunRow).where(JobRunRow.job_run_id == latest.job_run_id)
                connection.execute(row.values(state="running", finished_at=None))
            return self._run(connection, latest.job_run_id)

    def _insert_run(self, connection: Connection, name: str, as_of: datetime) -> int:
        row = {"name": name, "as_of": as_of, "started_at": self._clock(), "state": "running", "report": {}}
        return int(connection.execute(insert(JobRunRow).values(**row).returning(JobRunRow.job_run_id)).scalar_one())

    @contextmanager
    def step(self, job_run: JobRun, name: str) -> Iterator[dict[str, Any]]:
        """Do a step in the block, which fills in the result that it is given; a step that was done before is done anew.

        An error fails step and run, and is raised on; only its kind is kept, because its message may quote the data.
        """
        result: dict[str, Any] = {}
        self._begin_step(job_run, name)
        try:
            yield result
        except BaseException as error:
            with suppress(StoreError):  # the error itself is what to tell
                self._end_step(job_run, name, "failed", result, type(error).__name__)
            raise
        self._end_step(job_run, name, "done", result, None)

    def _begin_step(self, job_run: JobRun, name: str) -> None:
        begun = {"state": "running", "started_at": self._clock(), "finished_at": None, "result": {}, "error": None}
        with self._database.writing() as connection:
            self._must_hold(connection, job_run.name)
            changed = connection.execute(_step(update(JobStepRow), job_run, name).values(**begun))
            if not changed.rowcount:
                connection.execute(insert(JobStepRow), [{"job_run_id": job_run.job_run_id, "step": name, **begun}])

    def _end_step(self, job_run: JobRun, name: str, state: JobState, result: dict[str, Any], error: str | None) -> None:
        ended = {"state": state, "finished_at": self._clock(), "result": result, "error": error}
        with self._database.writing() as connection:
            self._must_hold(connection, job_run.name)
            connection.execute(_step(update(JobStepRow), job_run, name).values(**ended))
            if state == "failed":
                self._end(connection, job_run, state, {})

    def finish(self, job_run: JobRun, report: dict[str, Any]) -> JobRun:
        """Finish a run with what there is to report, and return it. Raises ConflictError without the lock."""
        with self._database.writing() as connection:
            self._must_hold(connection, job_run.name)
            self._end(connection, job_run, "done", report)
            return self._run(connection, job_run.job_run_id)

    def _end(self, connection: Connection, job_run: JobRun, state: JobState, report: dict[str, Any]) -> None:
        row = update(JobRunRow).where(JobRunRow.job_run_id == job_run.job_run_id)
        connection.execute(row.values(state=state, finished_at=self._clock(), report=report))

    # Reading

    def run(self, job_run_id: int) -> JobRun:
        """Return a run with its steps. Raises UnknownRecordError."""
        with self._database.reading() as connection:
            return self._run(connection, job_run_id)

    def last(self, name: str) -> JobRun | None:
        """Return the run of a job that was begun last, None where there is none."""
        return next(iter(self.history(name, 1)), None)

    def last_done(self, name: str, *, before: datetime | date | str | None = None) -> JobRun | None:
        """Return the newest finished run of the latest instant (before `before`), None where there is none."""
        query = _newest(name).where(JobRunRow.state == "done").order_by(None)
        if before is not None:
            query = query.where(JobRunRow.as_of < utc(before))
        with self._database.reading() as connection:
            found = connection.scalar(query.order_by(JobRunRow.as_of.desc(), JobRunRow.job_run_id.desc()).limit(1))
            return None if found is None else self._run(connection, found)

    def history(self, name: str, limit: int = 30) -> list[JobRun]:
        """Return the runs of a job, the one that was begun last first."""
        with self._database.reading() as connection:
            return [self._run(connection, found) for found in connection.scalars(_newest(name).limit(limit)).all()]

    def _run(self, connection: Connection, job_run_id: int) -> JobRun:
        row = connection.execute(select(JobRunRow.__table__).where(JobRunRow.job_run_id == job_run_id)).first()
        if row is None:
            raise UnknownRecordError(f"there is no job run {job_run_id!r}", self._database.where, "List them with history.")
        columns = [column for column in JobStepRow.__table__.columns if column.name not in ("step_id", "job_run_id")]
        steps = select(*columns).where(JobStepRow.job_run_id == job_run_id).order_by(JobStepRow.step_id)
        return JobRun(**row._mapping, steps=tuple(JobStep(**step._mapping) for step in connection.execute(steps)))


def _lock(connection: Connection, name: str) -> JobLock | None:
    row = connection.execute(select(JobLockRow.__table__).where(JobLockRow.name == name)).first()
    return None if row is None else JobLock(**row._mapping)


def _newest(name: str) -> Select:
    return select(JobRunRow.job_run_id).where(JobRunRow.name == name).order_by(JobRunRow.job_run_id.desc())


def _step(statement: Any, job_run: JobRun, name: str) -> Any:
    return statement.where(JobStepRow.job_run_id == job_run.job_run_id, JobStepRow.step == name)
