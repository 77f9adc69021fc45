"""What goes into the intake and what comes out of it. Every instant is naive UTC."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

Outcome = Literal["accepted", "duplicate", "conflict"]


class Event(NamedTuple):
    """One valid event: `payload` is the JSON text of its other contract columns, `digest` is over account and payload."""

    table: str
    event_id: str
    account_id: str
    person_id: str | None
    occurred_at: datetime
    payload: str
    digest: bytes


class ArrivedEvent(NamedTuple):
    """One event out of the store; `event_number` and `recorded_at` both grow strictly in the order of arrival."""

    event_number: int
    table: str
    event_id: str
    account_id: str
    recorded_at: datetime
    payload: str


@dataclass(frozen=True)
class Taken:
    """What became of events, in their order; `unknown_accounts`: ids among them that the store does not know (yet)."""

    outcomes: list[Outcome]
    unknown_accounts: set[str]


@dataclass(frozen=True)
class IntakeState:
    """How far the intake is: the last event (0 and None: none yet), and how many erasures there were."""

    last_number: int
    last_recorded_at: datetime | None
    erasures: int


@dataclass(frozen=True)
class Claim:
    """A sender's key in the hands of one request."""

    sender: str
    key: str
    holder: uuid.UUID


@dataclass(frozen=True)
class Answered:
    """What was answered under a key, to a body of this digest."""

    body_digest: bytes
    answer: dict[str, Any]


@dataclass(frozen=True)
class InProgress:
    """Another request holds the key; if it has died, the key is free after this time."""

    seconds_left: float


class ClaimLostError(Exception):
    """The request was so slow that another one took over its key."""
