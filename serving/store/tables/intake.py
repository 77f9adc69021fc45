"""Events as they arrive, what was erased of them, and the answers given to idempotency keys.

Events are raw source data, not history: they name accounts and people by their own ids, and are erased by them.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base


class EventRow(Base):
    """One event, its contract columns in JSON; `digest` tells a re-delivery from another content (null: a person was erased)."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("table_name", "event_id"),)

    event_number: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    table_name: Mapped[str] = mapped_column(String(32))
    event_id: Mapped[str] = mapped_column(String(200))
    account_id: Mapped[str]
    person_id: Mapped[str | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    payload: Mapped[dict[str, Any]]


class EventErasureRow(Base):
    """One erasure: whoever keeps a copy of the events reads them anew when there is a new one. It does not say of whom."""

    __tablename__ = "event_erasures"

    erasure_number: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    erased_at: Mapped[datetime]
    events: Mapped[int]


class IdempotencyKeyRow(Base):
    """A sender's key: in progress (no answer) or answered; void from `lapses_at` on."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "lapses_at"),)

    sender: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    holder: Mapped[uuid.UUID]
    lapses_at: Mapped[datetime]
    body_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
