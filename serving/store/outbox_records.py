"""What goes into the outbox and what comes out of it. Every instant is naive UTC."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

EventType = Literal["score.band_changed", "signal.raised", "play.started", "play.closed", "model.promoted"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

#: How long after each failed attempt the next one comes; after the last wait fails too, the delivery is dead.
BACK_OFF = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
#: A delivery that was claimed and of which nothing was heard is handed out again after this long.
LEASE = timedelta(minutes=2)


@dataclass(frozen=True)
class Webhook:
    """Who is told of which types of event; a disabled one (its receiver answered 410 Gone) is told nothing more."""

    webhook_id: str
    url: str
    events: tuple[EventType, ...]
    created_by: str
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True)
class Claimed:
    """A delivery to send now: `body` as it is signed and posted, held until `held_until`; `attempt` counts from 1."""

    delivery_id: str
    url: str
    body: str
    attempt: int
    held_until: datetime
    secret: str = field(repr=False)


@dataclass(frozen=True)
class DeadLetter:
    """A delivery that was given up, with the payload it carried; `account_id` in it is null once the account is erased."""

    delivery_id: str
    webhook_id: str
    url: str
    payload: dict[str, Any]
    attempts: int
    last_error: str
    died_at: datetime
