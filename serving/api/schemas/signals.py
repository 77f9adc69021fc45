"""Signals raised (domain.md §7), as far as rules exist."""

from datetime import datetime
from typing import Any

from serving.api.schemas.scored import Shape


class Signal(Shape):
    """One signal: which rule, for whom, when, and what it saw."""

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
