"""Signals raised (domain.md §7), as far as rules exist."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from serving.api.schemas.scored import Shape

_SIGNAL: dict[str, Any] = {
    "rule": "band_changed",
    "account_id": "A00257",
    "raised_at": "2026-07-01T05:12:40Z",
    "as_of": "2026-07-01T00:00:00Z",
    "detail": {"from": "neutral", "to": "at_risk", "health": 44},
}


class Signal(Shape):
    """One signal: which rule, for whom, when, and what it saw."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _SIGNAL})

    rule: str
    account_id: str
    raised_at: datetime
    as_of: datetime
    detail: dict[str, Any]


class Ledger(Shape):
    """How often a rule fired in the run."""

    rule: str
    fired: int


class SignalPage(Shape):
    """Signals of the latest run, newest first, and the ledger per rule."""

    items: list[Signal]
    next_cursor: str | None
    ledger: list[Ledger]
