"""Webhooks, the events waiting for them, and their deliveries."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base


class WebhookRow(Base):
    """Who is told of which types of event; `secret` signs, and is read by deliveries alone."""

    __tablename__ = "webhooks"

    webhook_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(JSON())
    secret: Mapped[str] = mapped_column(String(120))
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class OutboxRow(Base):
    """One event, written with what it tells of; `account_key` stands for the account, so that one erased is never named."""

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("event_type", "dedupe_key"),)

    event_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    event_type: Mapped[str] = mapped_column(String(32))
    dedupe_key: Mapped[str | None]
    account_key: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.account_key"))
    occurred_at: Mapped[datetime]
    data: Mapped[dict[str, Any]]


class DeliveryRow(Base):
    """One event on its way to one webhook. While somebody sends it, `next_at` is the end of the lease."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "webhook_id"),
        Index(None, "state", "next_at"),
        Index(None, "webhook_id"),
    )

    delivery_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("outbox.event_id"))
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.webhook_id"))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(String(200))
    settled_at: Mapped[datetime | None]
