"""What the webhook calls take and give."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serving.api.schemas.scored import Shape
from serving.api.schemas.words import EventType

_WEBHOOK: dict[str, Any] = {
    "webhook_id": "wh_4c0b1f9e5d6a4b0f8f6f3f0a2f1c7d55",
    "url": "https://example.com/kunto",
    "events": ["score.band_changed", "play.closed"],
    "created_by": "key:3f2a",
    "created_at": "2026-03-01T06:00:00Z",
    "disabled_at": None,
}
_LETTER: dict[str, Any] = {
    "delivery_id": "msg_0d9c5a1e8b3f4c7a9e2d6b1f4a8c3e70",
    "webhook_id": _WEBHOOK["webhook_id"],
    "url": _WEBHOOK["url"],
    "payload": {
        "type": "score.band_changed",
        "timestamp": "2026-03-01T06:00:00.000000Z",
        "data": {"account_id": "A00257", "from": "neutral", "to": "at_risk", "as_of": "2026-03-01T00:00:00", "health": 44},
    },
    "attempts": 8,
    "last_error": "answered 503",
    "died_at": "2026-03-02T10:35:12Z",
}


class NewWebhook(BaseModel):
    """Where to send which events. Each is posted as `{"type", "timestamp", "data"}`, signed as Standard Webhooks."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"url": _WEBHOOK["url"], "events": _WEBHOOK["events"]}}
    )

    url: Annotated[str, Field(min_length=1, max_length=2000, description="https, at a public address")]
    events: Annotated[list[EventType], Field(min_length=1, max_length=20)]


class WebhookRecord(Shape):
    """A webhook; one whose receiver answered 410 Gone is disabled, and is told nothing more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _WEBHOOK})

    webhook_id: str
    url: str
    events: list[EventType]
    created_by: str = Field(description="key or user, and its id")
    created_at: datetime
    disabled_at: datetime | None


class CreatedWebhook(WebhookRecord):
    """A new webhook with the secret that its signatures are checked with, told this once."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {**_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
    )

    secret: str


class WebhookPage(Shape):
    """Every webhook, oldest first; they are few, so one page holds them."""

    items: list[WebhookRecord]
    next_cursor: None


class DeadLetterRecord(Shape):
    """A delivery that was given up after its last attempt; `account_id` in its data is null once the account is erased."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _LETTER})

    delivery_id: str = Field(description="also the webhook-id header of its attempts")
    webhook_id: str
    url: str
    payload: dict[str, Any]
    attempts: int = Field(ge=1)
    last_error: str
    died_at: datetime


class DeadLetterPage(Shape):
    """Deliveries that were given up, the latest first; kept for 30 days."""

    items: list[DeadLetterRecord]
    next_cursor: str | None
