"""History names an account by its random key; identity lives in `accounts` alone (domain.md §4, §8)."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base


class AccountRow(Base):
    """Who an account is. Erasing empties the identity; the row stays, and history with it."""

    __tablename__ = "accounts"

    account_key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    account_id: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str | None]
    csm: Mapped[str | None]
    erased_at: Mapped[datetime | None]


class RunRow(Base):
    """One run of a job. What it wrote is seen once it is finished, and from then on the run is fixed."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    as_of: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(unique=True)
    versions: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]


class ScoreRow(Base):
    """One scored account, append-only: `record` is the scored account without identity and text."""

    __tablename__ = "scores"
    __table_args__ = (UniqueConstraint("run_id", "account_key", "as_of"), Index(None, "account_key", "as_of"))

    score_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    as_of: Mapped[datetime]
    scored_at: Mapped[datetime]
    health_score: Mapped[int | None]
    band: Mapped[str | None] = mapped_column(String(16))
    p_churn: Mapped[float | None]
    arr_at_risk: Mapped[float | None]
    versions: Mapped[dict[str, Any]]
    record: Mapped[dict[str, Any]]


class DecisionRow(Base):
    """One choice of a play as it was made, append-only; `playbook` is null where doing nothing won."""

    __tablename__ = "decisions"
    __table_args__ = (UniqueConstraint("run_id", "account_key", "as_of"), Index(None, "account_key", "decided_at"))

    decision_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    as_of: Mapped[datetime]
    decided_at: Mapped[datetime]
    playbook: Mapped[str | None] = mapped_column(String(64))
    candidates: Mapped[list[dict[str, Any]]]
    assignment: Mapped[str | None] = mapped_column(String(16))
    probability: Mapped[float | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    known: Mapped[dict[str, Any]]
