"""What `POST /v1/events` takes and gives; the columns of an event are those of its table in the contract."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serving.events import AnyEvent

_USAGE = {
    "event_id": "crm-2026-03-01-000017",
    "table": "usage",
    "account_id": "A00257",
    "feature": "reports",
    "occurred_at": "2026-03-01T08:00:00Z",
    "user_id": "u-31",
}
_TICKET = {
    "event_id": "desk-4711-1",
    "table": "tickets",
    "account_id": "A00257",
    "ticket_id": "4711",
    "opened_at": "2026-03-01T09:30:00+02:00",
    "priority": "high",
}


class RejectedEvent(BaseModel):
    """An event that was not taken in, and why; `line` counts from 1 (JSON: the place in `events`)."""

    line: int = Field(ge=1)
    event_id: str | None
    problem: str


class EventsAnswer(BaseModel):
    """What became of the events of one request; those accepted are committed, each once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "accepted": 2,
                "duplicates": 1,
                "rejected": [
                    {"line": 3, "event_id": "e3", "problem": "ticket_id: String should have at least 1 character, got ''"}
                ],
                "rejected_count": 1,
                "unknown_accounts": 0,
            }
        }
    )

    accepted: int = Field(ge=0)
    duplicates: int = Field(ge=0, description="came before with the same content, and count once")
    rejected: list[RejectedEvent] = Field(max_length=100, description="the first hundred")
    rejected_count: int = Field(ge=0)
    unknown_accounts: int = Field(ge=0, description="accounts never scored so far, up to 10,000; their events are taken in")


class EventsRequest(BaseModel):
    """Events of any table."""

    model_config = ConfigDict(extra="forbid")

    events: list[AnyEvent]


#: The request's body for OpenAPI, which cannot tell it by itself: it is read as a stream.
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/EventsRequest"},
            "example": {"events": [_USAGE, _TICKET]},
        },
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "one event per line, each as in `events` of application/json"},
            "example": "".join(f"{json.dumps(event)}\n" for event in (_USAGE, _TICKET)),
        },
    },
}
