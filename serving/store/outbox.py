"""`Outbox`: webhooks, the events waiting for them, and their deliveries."""

import base64
import random
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, func, insert, or_, select, update

from serving.store.band_changes import band_changes
from serving.store.database import Database
from serving.store.errors import ConflictError, UnknownRecordError
from serving.store.instants import now
from serving.store.outbox_records import BACK_OFF, EVENT_TYPES, LEASE, Claimed, DeadLetter, EventType, Webhook
from serving.store.scored_account import to_json
from serving.store.tables import AccountRow
from serving.store.tables.outbox import DeliveryRow, OutboxRow, WebhookRow

#: Every event is written once per webhook, and the list of them is one page.
MOST_WEBHOOKS = 100
#: How many deliveries one webhook is sent at once.
AT_ONCE_EACH = 8
_SECRET_BYTES = 32
_ERROR_LENGTH = 200
_JITTER = 0.1
_PENDING = DeliveryRow.state == "pending"


class Outbox:
    """Events leave in two steps: written in the transaction of what they tell of, then delivered at least once.

    A delivery is pending, and becomes delivered, dead (given up) or erased (its account was erased before it left).
    """

    def __init__(self, database: Database):
        self._database = database

    # Webhooks

    def subscribe(self, url: str, events: Iterable[EventType], *, created_by: str) -> tuple[Webhook, str]:
        """Add a webhook and return it with its signing secret (`whsec_…`), which is told this once.

        It hears of events from now on. Whether the address may be reached is checked by `serving.addresses`, not here.
        Raises ValueError for types that do not exist or none at all, ConflictError past MOST_WEBHOOKS.
        """
        given = set(events)
        wanted = tuple(event for event in EVENT_TYPES if event in given)
        if not wanted or len(wanted) < len(given):
            raise ValueError(f"events {sorted(given)} of a webhook: give one or more of {', '.join(EVENT_TYPES)}")
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        webhook = Webhook(f"wh_{uuid.uuid4().hex}", url, wanted, created_by, now())
        with self._database.writing() as connection:
            if (connection.scalar(select(func.count()).select_from(WebhookRow)) or 0) >= MOST_WEBHOOKS:
                raise ConflictError(
                    f"there are {MOST_WEBHOOKS} webhooks already", self._database.where, "Delete one that is not needed any more."
                )
            connection.execute(insert(WebhookRow).values(**asdict(webhook), secret=secret))
        return webhook, secret

    def webhooks(self) -> list[Webhook]:
        """Return every webhook, disabled ones too, oldest first; their secrets are not in it."""
        columns = [column for column in WebhookRow.__table__.columns if column.name != "secret"]
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(WebhookRow.created_at, WebhookRow.webhook_id))
            return [Webhook(**{**row._mapping, "events": tuple(row.events)}) for row in rows]

    def unsubscribe(self, webhook_id: str) -> None:
        """Remove a webhook, its secret, and what it has not heard yet. Raises UnknownRecordError."""
        with self._database.writing() as connection:
            connection.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id))
            if not connection.execute(delete(WebhookRow).where(WebhookRow.webhook_id == webhook_id)).rowcount:
                raise UnknownRecordError(
                    f"there is no webhook {webhook_id!r}", self._database.where, "Take an id from the list of webhooks."
                )

    # Events in

    def put(self, connection: Connection, event_type: EventType, data: Mapping[str, Any], *, key: str | None = None) -> bool:
        """Write an event for every webhook that now hears of its type, in the caller's transaction; return whether it is new.

        `data` names an account by `account_key` (a UUID) and no person; the receiver gets `account_id` in its place. Of
        several events of one type and `key`, the first alone is written. Raises ValueError for an unknown type, for
        `account_id` in `data`, and for what JSON cannot hold.
        """
        if key is not None and connection.scalar(
            select(OutboxRow.event_id).where(OutboxRow.event_type == event_type, OutboxRow.dedupe_key == key)
        ):
            return False
        _put(connection, event_type, [data], key)
        return True

    def announce(self, event_type: EventType, data: Mapping[str, Any], *, key: str | None = None) -> bool:
        """`put` in a transaction of its own, for what happens outside the store."""
        with self._database.writing() as connection:
            return self.put(connection, event_type, data, key=key)

    def band_changes(self, connection: Connection, run_id: str) -> int:
        """Write `score.band_changed` for the accounts whose band changes as this run finishes, and return how many."""
        changes: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(band_changes(run_id)).mappings()]
        _put(connection, "score.band_changed", changes)
        return len(changes)

    # Deliveries

    def waiting(self) -> int:
        """Return how many deliveries are still to be made."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(DeliveryRow).where(_PENDING)) or 0

    def claim(self, at: datetime, limit: int = 32) -> list[Claimed]:
        """Hand out deliveries that are due at `at`, each to one caller alone for LEASE; the webhooks take turns.

        At most AT_ONCE_EACH go to one webhook, so that a full outbox does not knock its receiver over. Whoever sends them
        answers each with `delivered` or `failed`; without an answer they are handed out again.
        """
        due = _PENDING & (DeliveryRow.next_at <= at)
        with self._database.reading() as connection:
            if not connection.scalar(select(exists().where(due))):
                return []  # asking every second must not take the writer's place
        with self._database.writing() as connection:
            erased = select(OutboxRow.event_id).join(AccountRow).where(AccountRow.account_id.is_(None))
            connection.execute(
                update(DeliveryRow).where(due, DeliveryRow.event_id.in_(erased)).values(state="erased", settled_at=at)
            )
            order = (DeliveryRow.next_at, DeliveryRow.event_id)
            turn = func.row_number().over(partition_by=DeliveryRow.webhook_id, order_by=order)
            chosen = select(DeliveryRow.delivery_id, turn.label("turn")).where(due).subquery()
            rows = connection.execute(
                _letters(DeliveryRow.delivery_id, DeliveryRow.attempts, WebhookRow.url, WebhookRow.secret)
                .join(chosen, chosen.c.delivery_id == DeliveryRow.delivery_id)
                .where(chosen.c.turn <= AT_ONCE_EACH)
                .order_by(chosen.c.turn, *order)
                .limit(limit)
            ).all()
            held_until = at + LEASE
            connection.execute(
                update(DeliveryRow)
                .where(DeliveryRow.delivery_id.in_([row.delivery_id for row in rows]))
                .values(attempts=DeliveryRow.attempts + 1, next_at=held_until)
            )
        return [
            Claimed(row.delivery_id, row.url, to_json(_payload(row)), row.attempts + 1, held_until, row.secret) for row in rows
        ]

    def delivered(self, delivery: Claimed, at: datetime) -> None:
        """Settle a delivery: its receiver took it."""
        with self._database.writing() as connection:
            connection.execute(
                update(DeliveryRow)
                .where(DeliveryRow.delivery_id == delivery.delivery_id)
                .values(state="delivered", settled_at=at, last_error=None)
            )

    def failed(self, delivery: Claimed, at: datetime, error: str, *, gone: bool = False) -> None:
        """Put a delivery off as BACK_OFF says (± 10 %), or give it up after the last attempt.

        `error` is cut to 200 characters. `gone`: the receiver wants no more, so its webhook is disabled and all that waits
        for it is dead. Nothing changes where the lease has lapsed and somebody else sends it.
        """
        told = {"last_error": error[:_ERROR_LENGTH]}
        dead = {**told, "state": "dead", "settled_at": at}
        again = delivery.attempt <= len(BACK_OFF) and not gone
        wait = BACK_OFF[delivery.attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER) if again else None
        with self._database.writing() as connection:
            connection.execute(
                update(DeliveryRow)
                .where(DeliveryRow.delivery_id == delivery.delivery_id, _PENDING, DeliveryRow.next_at == delivery.held_until)
                .values(dead if wait is None else {**told, "next_at": at + wait})
            )
            if gone:
                webhook = select(DeliveryRow.webhook_id).where(DeliveryRow.delivery_id == delivery.delivery_id)
                webhook_id = connection.scalar(webhook)
                connection.execute(update(WebhookRow).where(WebhookRow.webhook_id == webhook_id).values(disabled_at=at))
                connection.execute(update(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id, _PENDING).values(dead))

    def dead_letters(self, limit: int = 100, after: tuple[datetime, str] | None = None) -> list[DeadLetter]:
        """Return deliveries that were given up, the latest first; `after`: past the one with that died_at and delivery_id."""
        query = _letters(*DeliveryRow.__table__.columns, WebhookRow.url).where(DeliveryRow.state == "dead")
        if after is not None:
            died_at, delivery_id = after
            query = query.where(
                or_(
                    DeliveryRow.settled_at < died_at,
                    and_(DeliveryRow.settled_at == died_at, DeliveryRow.delivery_id < delivery_id),
                )
            )
        query = query.order_by(DeliveryRow.settled_at.desc(), DeliveryRow.delivery_id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [
                DeadLetter(row.delivery_id, row.webhook_id, row.url, _payload(row), row.attempts, row.last_error, row.settled_at)
                for row in connection.execute(query)
            ]

    def retry(self, delivery_id: str, at: datetime) -> None:
        """Send a dead letter again, now, with all its attempts. Raises UnknownRecordError, and ConflictError for any other."""
        with self._database.writing() as connection:
            row = connection.execute(
                select(DeliveryRow.state, WebhookRow.disabled_at).join(WebhookRow).where(DeliveryRow.delivery_id == delivery_id)
            ).first()
            if row is None:
                raise UnknownRecordError(
                    f"there is no delivery {delivery_id!r}", self._database.where, "Take an id from the dead letters."
                )
            if row.state != "dead":
                raise ConflictError(
                    f"delivery {delivery_id!r} is {row.state}, not dead", self._database.where, "Only a dead letter is retried."
                )
            if row.disabled_at is not None:
                raise ConflictError(
                    f"the webhook of delivery {delivery_id!r} is disabled: its receiver answered 410 Gone",
                    self._database.where,
                    "Subscribe the receiver anew; what happens from then on is sent.",
                )
            connection.execute(
                update(DeliveryRow)
                .where(DeliveryRow.delivery_id == delivery_id)
                .values(state="pending", attempts=0, next_at=at, settled_at=None)
            )

    def prune(self, before: datetime) -> int:
        """Drop deliveries settled before that instant, and older events that nobody waits for; return how many deliveries.

        Events with a key stay: they must not be told twice.
        """
        with self._database.writing() as connection:
            dropped = connection.execute(delete(DeliveryRow).where(DeliveryRow.settled_at < before)).rowcount
            awaited = exists().where(DeliveryRow.event_id == OutboxRow.event_id)
            connection.execute(delete(OutboxRow).where(OutboxRow.occurred_at < before, OutboxRow.dedupe_key.is_(None), ~awaited))
        return dropped


def _put(connection: Connection, event_type: EventType, events: list[Mapping[str, Any]], key: str | None = None) -> None:
    if event_type not in EVENT_TYPES:
        raise ValueError(f"event type {event_type!r} is not known; allowed: {', '.join(EVENT_TYPES)}")
    if any("account_id" in data for data in events):
        raise ValueError(f"{event_type}: data names an account by account_id; give its account_key")
    if not events:
        return
    at = now()
    rows = [
        {
            "event_type": event_type,
            "dedupe_key": key,
            "account_key": data.get("account_key"),
            "occurred_at": at,
            "data": {name: value for name, value in data.items() if name != "account_key"},
        }
        for data in events
    ]
    event_ids = connection.scalars(insert(OutboxRow).returning(OutboxRow.event_id, sort_by_parameter_order=True), rows).all()
    hearing = connection.execute(select(WebhookRow.webhook_id, WebhookRow.events).where(WebhookRow.disabled_at.is_(None)))
    deliveries = [
        {
            "delivery_id": f"msg_{uuid.uuid4().hex}",
            "event_id": event_id,
            "webhook_id": webhook_id,
            "state": "pending",
            "attempts": 0,
            "next_at": at,
        }
        for webhook_id, types in hearing
        if event_type in types
        for event_id in event_ids
    ]
    if deliveries:
        connection.execute(insert(DeliveryRow), deliveries)


def _letters(*columns: Any) -> Select:
    """Deliveries with all that their payload is made of; the account is joined now, so that one erased is not in it."""
    payload = (OutboxRow.event_type, OutboxRow.occurred_at, OutboxRow.account_key, OutboxRow.data, AccountRow.account_id)
    return (
        select(*columns, *payload)
        .select_from(DeliveryRow)
        .join(OutboxRow, OutboxRow.event_id == DeliveryRow.event_id)
        .join(WebhookRow, WebhookRow.webhook_id == DeliveryRow.webhook_id)
        .outerjoin(AccountRow, AccountRow.account_key == OutboxRow.account_key)
    )


def _payload(row: Row[Any]) -> dict[str, Any]:
    account = {} if row.account_key is None else {"account_id": row.account_id}
    return {"type": row.event_type, "timestamp": f"{row.occurred_at.isoformat()}Z", "data": {**account, **row.data}}
