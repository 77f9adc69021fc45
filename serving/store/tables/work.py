"""What people and runs leave behind: inputs of scores, contacts, plays, feedback, free text."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base

#: The longest id of whoever did something.
ID_LENGTH = 64
_NOT_CLOSED = text("state <> 'closed'")


class InputColumnsRow(Base):
    """The names of an input's values, in their order, once for all rows that share them; append-only."""

    __tablename__ = "input_columns"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    names: Mapped[list[str]] = mapped_column(JSON)


class InputRow(Base):
    """What one score was computed from, append-only: `packed` is zlib of little-endian float64, in the order of the columns."""

    __tablename__ = "inputs"
    __table_args__ = (UniqueConstraint("run_id", "account_key", "as_of"),)

    input_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    as_of: Mapped[datetime]
    columns_digest: Mapped[str] = mapped_column(ForeignKey("input_columns.digest"))
    packed: Mapped[bytes]
    facts: Mapped[dict[str, Any]]


class ContactRow(Base):
    """A person to call about an account, the first at position 0: personal data, replaced and erased as it must be."""

    __tablename__ = "contacts"

    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"), primary_key=True)
    contact_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(32))
    position: Mapped[int]


class TextRow(Base):
    """Free text that a person wrote about an account; other tables refer to it, so that it alone is emptied by an erasure."""

    __tablename__ = "texts"

    text_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"), index=True)
    text: Mapped[str | None]
    written_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class FeedbackRow(Base):
    """What a person thought of a score, or of one of its drivers; append-only."""

    __tablename__ = "feedback"
    __table_args__ = (Index(None, "account_key", "at"),)

    feedback_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    as_of: Mapped[datetime]
    driver: Mapped[str | None] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    by_kind: Mapped[str] = mapped_column(String(16))
    by_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    at: Mapped[datetime]
    text_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("texts.text_id"))


class ManualScoreRow(Base):
    """A health score that a person gave, with the reason, until it expires; append-only."""

    __tablename__ = "manual_scores"
    __table_args__ = (Index(None, "account_key", "at"),)

    manual_score_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    score: Mapped[int]
    by_kind: Mapped[str] = mapped_column(String(16))
    by_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    at: Mapped[datetime]
    expires_at: Mapped[datetime]
    text_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("texts.text_id"))


class PlayRow(Base):
    """A playbook that runs, or ran, for an account, as it stands now; `steps` are those declared when it was started."""

    __tablename__ = "plays"
    __table_args__ = (
        Index(
            "uq_plays_not_closed",
            "account_key",
            "playbook",
            unique=True,
            sqlite_where=_NOT_CLOSED,
            postgresql_where=_NOT_CLOSED,
        ),
        Index(None, "account_key", "started_at"),
        Index(None, "started_at", "play_id"),
    )

    play_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    account_key: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.account_key"))
    playbook: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    started_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    snoozed_until: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    assignment: Mapped[str | None] = mapped_column(String(16))
    probability: Mapped[float | None]
    override: Mapped[bool]
    version: Mapped[int]
    steps: Mapped[list[dict[str, Any]]]


class PlayEventRow(Base):
    """One thing that happened to a play, append-only; `version` is the play's after it."""

    __tablename__ = "play_events"
    __table_args__ = (UniqueConstraint("play_id", "version"),)

    event_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    play_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("plays.play_id"))
    version: Mapped[int]
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(16))
    step: Mapped[int | None]
    until: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    by_kind: Mapped[str] = mapped_column(String(16))
    by_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    text_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("texts.text_id"))
