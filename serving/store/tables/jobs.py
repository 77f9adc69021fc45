"""Jobs: who runs one now, the runs there were, and the steps of each."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base


class JobLockRow(Base):
    """The process that runs a job; what it holds is void from `lapses_at` on, unless it has renewed it by then."""

    __tablename__ = "job_locks"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str]
    since: Mapped[datetime]
    lapses_at: Mapped[datetime]


class JobRunRow(Base):
    """One run of a job. A crash leaves it `running`, the next process to hold the lock goes on with it or ends it."""

    __tablename__ = "job_runs"

    job_run_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    as_of: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16))
    report: Mapped[dict[str, Any]]


class JobStepRow(Base):
    """One step of a run, as its last attempt left it."""

    __tablename__ = "job_steps"
    __table_args__ = (UniqueConstraint("job_run_id", "step"),)

    step_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    job_run_id: Mapped[int] = mapped_column(ROW_NUMBER, ForeignKey("job_runs.job_run_id"))
    step: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any]]
    error: Mapped[str | None]
