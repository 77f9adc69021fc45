"""Histories of two accounts, a handful of rows in each table, where mistakes are: late, repeated, at once, at the edges."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

from features.contract import TABLES
from reference.shapes import DAY, TICK, Shape

ACCOUNTS = ("a", "b")
#: The currency that needs a rate; any other is the reporting currency.
FOREIGN = "USD"
Row = dict[str, Any]
History = dict[str, list[Row]]

_OFTEN, _SELDOM = [False, False, True], [False] * 9 + [True]
#: When a later fact happens: never, so long after the event, or at a moment where something else happens.
_LATER = [None, None, None, 0 * DAY, TICK, DAY, 5 * DAY, 30 * DAY, 90 * DAY, 300 * DAY, "moment", "moment"]
_DUE = [0 * DAY, DAY, 14 * DAY, 30 * DAY, "moment"]
#: When a row is recorded: not said, so long after (before) the event, or at a moment where something else happens.
_RECORDED = [None, None, None, None, 0 * DAY, TICK, DAY, 31 * DAY, 100 * DAY, -10 * DAY, "moment", "moment"]
_LATER_VERSION = [TICK, DAY, 31 * DAY, 200 * DAY]
_CURRENCY = [None, "EUR", "EUR", FOREIGN]
_CONTACT = [None, "c", "d"]
_ACCOUNT = ["a", "a", "b"]
_IDENTITY = ["1", "2", "3", "4", "5", "6", "7", "8"]

#: What each column holds, one as likely as the other.
COLUMNS: dict[str, dict[str, list[Any]]] = {
    "subscriptions": {
        "subscription_id": [None, "s", "s", "s", "t"],
        "product": [None, "core", "core", "core", "core", "extra"],
        "plan": [None, "basic", "basic", "pro"],
        "seats": [None, 0, 5, 5, 5, 9],
        "mrr": [None, 0, 10, 10.5, 20, 19.99],
        "currency": _CURRENCY,
        "ended_at": _LATER,
        "cancelled_at": _LATER,
        "term_months": [None, 1, 12],
        "renewal_at": [None, 60 * DAY, 180 * DAY, 365 * DAY, "moment"],
        "notice_days": [None, 30, 90],
        "auto_renew": [None, True, False],
    },
    "usage": {
        "event_id": [None, None, "1", "2", "3", "4", "5", "6", "7", "8"],
        "feature": ["open", "open", "Open", "Save As", "Cancellation_Page"],
        "user_id": [None, "u", "v", "w"],
        "quantity": [None, 1, 1, 3, 40, 0, -2],
        "users": [None, 1, 4],
        "value": [None, 0.5, 12.25, -3],
    },
    "tickets": {
        "ticket_id": _IDENTITY,
        "first_response_at": _LATER,
        "resolved_at": _LATER,
        "reopened_at": _LATER,
        "escalated_at": _LATER,
        "priority": [None, "low", "high", "Urgent", "P1"],
        "sentiment": [None, -1, 0.25],
    },
    "observations": {
        "kind": ["feature_request", "complaint", "praise", "risk", "opportunity", "note"],
        "author": [None, "x", "y"],
    },
    "surveys": {
        "kind": ["nps", "nps", "csat", "ces"],
        "contact_id": _CONTACT,
        "about": [None, "product"],
        "responded_at": _LATER,
        "score": [None, 0, 1, 3, 4.5, 5, 7, 10],
        "scale_max": [None, None, 5, 10],
    },
    "outcomes": {
        "goal": ["g", "h"],
        "target": [10, 10, 3, 0],
        "value": [0, 5, 10, 200],
    },
    "touchpoints": {
        "kind": ["email", "email", "call", "meeting", "qbr", "training", "webinar", "in_app"],
        "contact_id": _CONTACT,
        "direction": [None, "out", "out", "in"],
        "responded_at": _LATER,
    },
    "contacts": {
        "contact_id": ["c", "d"],
        "role": [None, "user", "champion", "decision_maker", "executive"],
        "valid_to": _LATER,
    },
    "invoices": {
        "invoice_id": _IDENTITY,
        "amount": [-5, 0, 100, 19.99],
        "due_at": _DUE,
        "currency": _CURRENCY,
        "paid_at": _LATER,
    },
    "offers": {
        "product": ["core", "extra"],
        "decided_at": _LATER,
        "status": [None, "open", "won", "won", "lost"],
    },
    "costs": {
        "kind": ["service", "service", "acquisition"],
        "amount": [0, 30.5, 99.9],
        "hours": [None, 1, 2.5],
    },
    "projects": {
        "project_id": _IDENTITY,
        "kind": [None, "onboarding", "onboarding", "rollout"],
        "due_at": [None, DAY, 14 * DAY, "moment"],
        "finished_at": _LATER,
    },
    "plays": {
        "playbook": ["call", "mail"],
        "play_id": [None, "1", "2"],
        "assignment": [None, "treated", "held_out"],
        "ended_at": _LATER,
    },
    "fx": {"currency": [FOREIGN], "rate": [0.5, 0.9, 1.25, 2]},
}  # fmt: skip
_MOST_ROWS = {"usage": 16, "subscriptions": 8, "touchpoints": 9, "surveys": 8, "fx": 2}


def histories(shape: Shape) -> st.SearchStrategy[History]:
    """Histories of `ACCOUNTS` in tables of that shape.

    Hypothesis chooses either each value, which makes many alike and some very odd, or the seed of all of them.
    """
    chances = st.randoms(use_true_random=True) | st.randoms(use_true_random=True) | st.randoms(use_true_random=False)
    edges = shape.edges()
    return chances.map(lambda random: _History(random, shape, edges).tables())


class _History:
    """Draws the rows of one history."""

    def __init__(self, random: Random, shape: Shape, edges: list[datetime]) -> None:
        self._random, self._shape = random, shape
        # Few moments for many rows: two events at one instant are common.
        self._moments = [self._moment(edges) for _ in range(random.randint(4, 10))]
        self._rated = not {"fx"} & (shape.missing | shape.empty)

    def _moment(self, edges: list[datetime]) -> datetime:
        if self._random.choice(_OFTEN):
            return self._shape.instants[-1] - timedelta(seconds=self._random.randint(1, self._random.choice([120, 420]) * 86_400))
        return self._random.choice(edges)

    def tables(self) -> History:
        """Every table that is there."""
        there = [name for name in COLUMNS if name not in self._shape.missing]
        return {name: [] if name in self._shape.empty else self._table(name) for name in there}

    def _table(self, name: str) -> list[Row]:
        contract, has = TABLES[name], self._shape.columns(name)
        rows: list[Row] = []
        if name == "fx":  # from before the first snapshot on
            rows = [{"currency": FOREIGN, "date": self._shape.instants[0] - 1000 * DAY, "rate": 0.5, "recorded_at": None}]
        for _ in range(self._random.randint(0, _MOST_ROWS.get(name, 6))):
            row = self._row(name)
            rows.append(row)
            if contract.key in ((), ("event_id",)) and row.get("event_id") is None:
                rows += [dict(row)] * self._random.choice(_OFTEN)
            elif "recorded_at" in has and self._random.choice(_OFTEN):
                rows.append(self._version(name, row))
        return [{column: row.get(column) for column in has} for row in self._told_apart(name, rows)]

    def _row(self, name: str) -> Row:
        event = TABLES[name].event
        happened = self._random.choice(self._moments)
        dated = TABLES[name].column(event).required or (
            (name, event) not in self._shape.lacking and not self._random.choice(_SELDOM)
        )
        recorded = self._after(happened, self._random.choice(_RECORDED))
        content = {event: happened if dated else None} | self._content(name, happened)
        return content | {"recorded_at": recorded if dated or recorded else happened}

    def _content(self, name: str, happened: datetime) -> Row:
        content: Row = {"account_id": self._random.choice(_ACCOUNT)} if "account_id" in TABLES[name].names else {}
        if name == "costs" and self._random.choice(_SELDOM):
            content["account_id"] = None
        for column, options in COLUMNS[name].items():
            if (name, column) not in self._shape.lacking:
                value = self._random.choice(options)
                content[column] = self._after(happened, value) if TABLES[name].column(column).kind == "time" else value
        if not self._rated and "currency" in content:
            content["currency"] = "EUR"
        return content

    def _after(self, happened: datetime, value: timedelta | str | None) -> datetime | None:
        if value == "moment":
            return max(self._random.choice(self._moments), happened)
        return value if value is None else happened + value

    def _version(self, name: str, row: Row) -> Row:
        """The same key, recorded later; all else may have changed, for a key of one column the account and the event too."""
        contract = TABLES[name]
        recorded = (row["recorded_at"] or row[contract.event]) + self._random.choice(_LATER_VERSION)
        if self._random.choice(_OFTEN):
            return row | {"recorded_at": recorded}  # delivered again, unchanged
        happened = self._random.choice(self._moments)
        changed = {contract.event: happened} | self._content(name, happened)
        return row | {name: value for name, value in changed.items() if name not in contract.key} | {"recorded_at": recorded}

    def _told_apart(self, name: str, rows: list[Row]) -> list[Row]:
        """Leave out rows of a key that were recorded at one instant, which have no order, or at no stated one."""
        contract, has = TABLES[name], self._shape.columns(name)
        key = [column for column in contract.key if column in has]
        kept: dict[object, Row] = {}
        for number, row in enumerate(rows):
            recorded = (row["recorded_at"] or row[contract.event]) if "recorded_at" in has else None
            unkeyed = not key or (len(contract.key) == 1 and row.get(key[0]) is None)
            kept.setdefault(number if unkeyed else (*(row.get(column) for column in key), recorded), row)
        return [row for row in kept.values() if row[contract.event] is not None or "recorded_at" in has]
