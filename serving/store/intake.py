"""`Intake`: events as they arrive, each applied once, and the answers given to idempotency keys."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Text, cast, delete, func, insert, select, text, update

from features.contract import TABLES
from serving.store.database import Database
from serving.store.instants import now
from serving.store.intake_records import (
    Answered,
    ArrivedEvent,
    Claim,
    ClaimLostError,
    Event,
    InProgress,
    IntakeState,
    Outcome,
    Taken,
)
from serving.store.scored_account import Json
from serving.store.tables import AccountRow
from serving.store.tables.intake import EventErasureRow, EventRow, IdempotencyKeyRow

#: How long a request may be silent before another one may take over its key: what a retry waits for after a crash.
LEASE = timedelta(seconds=10)
#: How long an answer is kept for its key.
KEPT = timedelta(hours=24)
_READ_ROWS = 20_000
_TICK = timedelta(microseconds=1)


class Intake:
    """Events of the source tables that came in over the network, and the keys under which they came.

    An event is identified by its table and `event_id`: delivered again it is absorbed, with another content it is not applied.
    `recorded_at` is this store's own clock, and grows with each event, so that versions of one row keep their order.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = now):
        self._database = database
        self._clock = clock

    # Events

    def add(self, events: Sequence[Event], claim: Claim | None = None) -> Taken:
        """Add events in one transaction, up to some thousand at once, and say of each what became of it.

        A `claim` is renewed with it; raises ClaimLostError, with nothing written, where another request has taken it over.
        """
        outcomes: list[Outcome] = []
        new: list[Event] = []
        with self._database.writing() as connection:
            if not self._database.is_sqlite:
                # a plan kept for any ids compares each of them with each row, instead of looking them up
                connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            if claim is not None:
                self._hold(connection, claim, {"lapses_at": self._clock() + LEASE})
            digests = _digests(connection, events)
            for event in events:
                key = (event.table, event.event_id)
                if key not in digests:
                    digests[key] = event.digest
                    new.append(event)
                    outcomes.append("accepted")
                else:
                    # where a person was erased nothing is left to compare with, and nothing may bring them back
                    outcomes.append("duplicate" if digests[key] in (event.digest, None) else "conflict")
            self._insert(connection, new)
            return Taken(outcomes, _unknown_accounts(connection, {event.account_id for event in events}))

    def _insert(self, connection: Connection, events: Sequence[Event]) -> None:
        if not events:
            return
        # the clock is read here, in this writer's turn: recorded_at must not lie before what a reader has already seen
        last, first = _last_recorded_at(connection), self._clock()
        if last is not None:
            first = max(first, last + _TICK)
        rows = [
            {
                "table_name": event.table,
                "event_id": event.event_id,
                "account_id": event.account_id,
                "person_id": event.person_id,
                "occurred_at": event.occurred_at,
                "recorded_at": first + place * _TICK,
                "digest": event.digest,
                "payload": Json(event.payload),
            }
            for place, event in enumerate(events)
        ]
        connection.execute(insert(EventRow), rows)

    def state(self) -> IntakeState:
        """Return how far the intake is; cheap enough to ask before every use of what was read before."""
        with self._database.reading() as connection:
            last = connection.execute(
                select(EventRow.event_number, EventRow.recorded_at).order_by(EventRow.event_number.desc()).limit(1)
            ).first()
            erasures = connection.scalar(select(func.count()).select_from(EventErasureRow)) or 0
        return IntakeState(last[0], last[1], erasures) if last else IntakeState(0, None, erasures)

    def arrived(self, after: int = 0) -> Iterator[list[ArrivedEvent]]:
        """Yield the events with an `event_number` greater than `after`, in the order of arrival, some thousand at a time."""
        columns = (
            EventRow.event_number,
            EventRow.table_name,
            EventRow.event_id,
            EventRow.account_id,
            EventRow.recorded_at,
            cast(EventRow.payload, Text),  # as it was written: nobody here needs it parsed
        )
        while True:
            query = select(*columns).where(EventRow.event_number > after).order_by(EventRow.event_number).limit(_READ_ROWS)
            with self._database.reading() as connection:
                rows = [ArrivedEvent(*row) for row in connection.execute(query)]
            if rows:
                yield rows
                after = rows[-1].event_number
            if len(rows) < _READ_ROWS:
                return

    # Erasure

    def forget_account(self, account_id: str) -> int:
        """Delete every event of an account, and return how many there were."""
        with self._database.writing() as connection:
            erased = connection.execute(delete(EventRow).where(EventRow.account_id == account_id)).rowcount
            self._note_erasure(connection, erased)
        return erased

    def forget_person(self, person_id: str) -> int:
        """Take a person (a user_id or contact_id) out of every event, and return of how many.

        The events stay, as the account's: the id becomes a random one, the same in all of them, and free text goes. Delivering
        one again does not bring the person back; new events naming the same id would.
        """
        drawn = f"erased-{uuid.uuid4()}"
        with self._database.writing() as connection:
            query = select(EventRow.event_number, EventRow.table_name, EventRow.payload).where(EventRow.person_id == person_id)
            rows = connection.execute(query).all()
            for number, table, payload in rows:
                changed = _without_person(table, payload, person_id, drawn)
                row = update(EventRow).where(EventRow.event_number == number)
                connection.execute(row.values(person_id=drawn, digest=None, payload=changed))
            self._note_erasure(connection, len(rows))
        return len(rows)

    def _note_erasure(self, connection: Connection, events: int) -> None:
        if events:
            connection.execute(insert(EventErasureRow), [{"erased_at": self._clock(), "events": events}])
            # a kept answer may quote a refused event
            connection.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.body_digest.is_not(None)))

    # Idempotency keys

    def claim(self, sender: str, key: str) -> Claim | Answered | InProgress:
        """Take a sender's key for a request; or return what was answered under it, or that another request holds it."""
        with self._database.writing() as connection:
            present = self._clock()
            connection.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.lapses_at <= present))
            query = select(IdempotencyKeyRow.lapses_at, IdempotencyKeyRow.body_digest, IdempotencyKeyRow.answer)
            found = connection.execute(query.where(IdempotencyKeyRow.sender == sender, IdempotencyKeyRow.key == key)).first()
            if found is None:
                claim = Claim(sender, key, uuid.uuid4())
                row = {"sender": sender, "key": key, "holder": claim.holder, "lapses_at": present + LEASE}
                connection.execute(insert(IdempotencyKeyRow), [row])
                return claim
        if found.body_digest is None:
            return InProgress((found.lapses_at - present).total_seconds())
        return Answered(found.body_digest, found.answer)

    def answer(self, claim: Claim, body_digest: bytes, answer: dict[str, Any]) -> None:
        """Keep the answer for its key, for KEPT. Raises ClaimLostError where another request has taken the key over."""
        with self._database.writing() as connection:
            kept = {"lapses_at": self._clock() + KEPT, "body_digest": body_digest, "answer": answer}
            self._hold(connection, claim, kept)

    def _hold(self, connection: Connection, claim: Claim, values: dict[str, Any]) -> None:
        """Write to the claim's row; one that lapsed without being taken by another is made anew."""
        if connection.execute(update(IdempotencyKeyRow).where(*_held(claim)).values(**values)).rowcount:
            return
        row = IdempotencyKeyRow
        if connection.scalar(select(row.holder).where(row.sender == claim.sender, row.key == claim.key)) is not None:
            raise ClaimLostError(f"another request has taken over the key {claim.key!r}")
        connection.execute(insert(row), [asdict(claim) | values])

    def release(self, claim: Claim) -> None:
        """Give the key back without an answer: a request that failed may be sent again at once."""
        with self._database.writing() as connection:
            connection.execute(delete(IdempotencyKeyRow).where(*_held(claim)))


def _held(claim: Claim) -> tuple[Any, ...]:
    row = IdempotencyKeyRow
    return row.sender == claim.sender, row.key == claim.key, row.holder == claim.holder, row.body_digest.is_(None)


def _digests(connection: Connection, events: Sequence[Event]) -> dict[tuple[str, str], bytes | None]:
    """Return the digests of those of the events that the store holds, by table and event_id."""
    found: dict[tuple[str, str], bytes | None] = {}
    for table in {event.table for event in events}:
        ids = [event.event_id for event in events if event.table == table]
        query = select(EventRow.event_id, EventRow.digest).where(EventRow.table_name == table, EventRow.event_id.in_(ids))
        found |= {(table, event_id): digest for event_id, digest in connection.execute(query)}
    return found


def _unknown_accounts(connection: Connection, account_ids: set[str]) -> set[str]:
    query = select(AccountRow.account_id).where(AccountRow.account_id.in_(account_ids))
    return account_ids - {account_id for (account_id,) in connection.execute(query) if account_id is not None}


def _last_recorded_at(connection: Connection) -> datetime | None:
    return connection.scalar(select(EventRow.recorded_at).order_by(EventRow.event_number.desc()).limit(1))


def _without_person(table: str, payload: dict[str, Any], person_id: str, drawn: str) -> dict[str, Any]:
    personal = {column.name for column in TABLES[table].columns if column.personal}
    kept = {name: value for name, value in payload.items() if name not in personal}
    return kept | {name: drawn for name in personal & payload.keys() if payload[name] == person_id}
