"""The data contract: every source table, its columns, and the instant that each fact waits for (domain.md §2).

>>> TABLES["tickets"].event
'opened_at'
>>> TABLES["surveys"].column("score").known_at
'responded_at'
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "time", "integer", "decimal", "boolean"]

#: Decimal places kept of money and of every other fraction; sums of decimals do not depend on their order.
DECIMAL_SCALE = 6
DECIMAL_TYPE = f"decimal(24, {DECIMAL_SCALE})"
IBIS_TYPES: dict[Kind, str] = {
    "text": "string",
    "time": "timestamp(6)",
    "integer": "int64",
    "decimal": DECIMAL_TYPE,
    "boolean": "boolean",
}


@dataclass(frozen=True)
class Column:
    """One column of a source table.

    `known_at` names the column whose instant must lie before T for the value to be seen (None: known with the row).
    `low` and `high` bound legal values, `allowed` lists them; `default` is the value taken when the column is absent.
    `changes` marks a value that can change with no instant of its own: no feature unless its rows have versions.
    """

    name: str
    kind: Kind
    required: bool = False
    known_at: str | None = None
    default: int | str | None = None
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()
    personal: bool = False
    changes: bool = False


@dataclass(frozen=True)
class Table:
    """One source table: `event` is the column of its event time, `key` identifies a row among its versions.

    `not_before` lists pairs (later, earlier) of times that must not stand the wrong way round.
    """

    name: str
    event: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    not_before: tuple[tuple[str, str], ...] = ()

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError, with the names there are, where the contract has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name!r}; its columns: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the contract's order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that must be there."""
        return tuple(column.name for column in self.columns if column.required)


RECORDED_AT = Column("recorded_at", "time")
_ACCOUNT = Column("account_id", "text", required=True)


def _table(
    name: str,
    event: str,
    key: tuple[str, ...],
    *columns: Column,
    not_before: tuple[tuple[str, str], ...] = (),
) -> Table:
    return Table(name, event, key, (*columns, RECORDED_AT), not_before)


def _text(name: str, **facts: object) -> Column:
    return Column(name, "text", **facts)  # type: ignore[arg-type]


def _time(name: str, **facts: object) -> Column:
    return Column(name, "time", **facts)  # type: ignore[arg-type]


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "accounts",
            "created_at",
            ("account_id",),
            _ACCOUNT,
            _text("name", personal=True),
            _time("created_at"),
            _time("observed_from"),
            _time("observed_until"),
            _text("industry", changes=True),
            _text("country", changes=True),
            Column("employees", "integer", low=0, changes=True),
            _text("csm", changes=True),
            _text("parent_account_id", changes=True),
            Column("strategic", "boolean", changes=True),
            not_before=(("observed_until", "observed_from"),),
        ),
        _table(
            "subscriptions",
            "started_at",
            ("account_id", "subscription_id", "product", "started_at"),
            _ACCOUNT,
            _time("started_at", required=True),
            _time("ended_at", known_at="ended_at"),
            _text("subscription_id"),
            _text("product"),
            _text("plan"),
            Column("seats", "integer", low=0),
            Column("mrr", "decimal", low=0),
            _text("currency"),
            _time("cancelled_at", known_at="cancelled_at"),
            _text("cancel_reason", known_at="cancelled_at"),
            Column("voluntary", "boolean", known_at="ended_at"),
            Column("term_months", "integer", low=0),
            _time("renewal_at"),
            Column("notice_days", "integer", low=0),
            Column("auto_renew", "boolean"),
            not_before=(("ended_at", "started_at"),),
        ),
        _table(
            "invoices",
            "issued_at",
            ("invoice_id",),
            _text("invoice_id", required=True),
            _ACCOUNT,
            Column("amount", "decimal", required=True),
            _time("issued_at", required=True),
            _time("due_at", required=True),
            _text("currency"),
            _time("paid_at", known_at="paid_at"),
            not_before=(("due_at", "issued_at"),),
        ),
        _table(
            "usage",
            "occurred_at",
            ("event_id",),
            _ACCOUNT,
            _text("feature", required=True),
            _time("occurred_at", required=True),
            _text("event_id"),
            _text("user_id", personal=True),
            Column("quantity", "integer", default=1),
            Column("users", "integer", low=0),
            Column("value", "decimal"),
        ),
        _table(
            "tickets",
            "opened_at",
            ("ticket_id",),
            _text("ticket_id", required=True),
            _ACCOUNT,
            _time("opened_at", required=True),
            _time("first_response_at", known_at="first_response_at"),
            _time("resolved_at", known_at="resolved_at"),
            _time("reopened_at", known_at="reopened_at"),
            _time("escalated_at", known_at="escalated_at"),
            _text("priority"),
            _text("category"),
            Column("sentiment", "decimal", low=-1, high=1),
            not_before=(
                ("first_response_at", "opened_at"),
                ("resolved_at", "opened_at"),
                ("escalated_at", "opened_at"),
            ),
        ),
        _table(
            "surveys",
            "sent_at",
            ("account_id", "kind", "sent_at", "contact_id", "about"),
            _ACCOUNT,
            _text("kind", required=True, allowed=("nps", "csat", "ces")),
            _time("sent_at"),
            _time("responded_at", known_at="responded_at"),
            Column("score", "decimal", known_at="responded_at", low=0),
            _text("contact_id", personal=True),
            Column("scale_max", "integer", low=1),
            _text("about"),
            _text("comment", known_at="responded_at", personal=True),
            not_before=(("responded_at", "sent_at"),),
        ),
        _table(
            "touchpoints",
            "occurred_at",
            ("account_id", "kind", "occurred_at", "contact_id"),
            _ACCOUNT,
            _text("kind", required=True, allowed=("email", "call", "meeting", "qbr", "training", "webinar", "in_app")),
            _time("occurred_at", required=True),
            _text("direction", allowed=("out", "in")),
            _text("contact_id", personal=True),
            _time("responded_at", known_at="responded_at"),
            not_before=(("responded_at", "occurred_at"),),
        ),
        _table(
            "contacts",
            "valid_from",
            ("contact_id", "valid_from"),
            _text("contact_id", required=True, personal=True),
            _ACCOUNT,
            _text("role", changes=True, allowed=("user", "admin", "champion", "decision_maker", "executive")),
            _time("valid_from"),
            _time("valid_to", known_at="valid_to"),
            not_before=(("valid_to", "valid_from"),),
        ),
        _table(
            "outcomes",
            "measured_at",
            ("account_id", "goal", "measured_at"),
            _ACCOUNT,
            _text("goal", required=True),
            Column("target", "decimal", required=True),
            Column("value", "decimal", required=True),
            _time("measured_at", required=True),
        ),
        _table(
            "observations",
            "occurred_at",
            ("account_id", "kind", "occurred_at", "author"),
            _ACCOUNT,
            _text("kind", required=True, allowed=("feature_request", "complaint", "praise", "risk", "opportunity", "note")),
            _time("occurred_at", required=True),
            _text("author", personal=True),
            _text("text", personal=True),
        ),
        _table(
            "projects",
            "started_at",
            ("account_id", "project_id"),
            _ACCOUNT,
            _text("project_id", required=True),
            _text("kind", allowed=("onboarding", "rollout", "integration")),
            _time("started_at", required=True),
            _time("due_at"),
            _time("finished_at", known_at="finished_at"),
            not_before=(("finished_at", "started_at"),),
        ),
        _table(
            "offers",
            "offered_at",
            ("account_id", "product", "offered_at"),
            _ACCOUNT,
            _text("product", required=True),
            _time("offered_at", required=True),
            _time("decided_at", known_at="decided_at"),
            _text("status", known_at="decided_at", allowed=("won", "lost", "open")),
            not_before=(("decided_at", "offered_at"),),
        ),
        _table(
            "plays",
            "started_at",
            ("account_id", "playbook", "started_at", "play_id"),
            _ACCOUNT,
            _text("playbook", required=True),
            _time("started_at", required=True),
            _text("play_id"),
            _time("ended_at", known_at="ended_at"),
            _text("assignment", allowed=("treated", "held_out")),
            Column("probability", "decimal", low=0, high=1),
            not_before=(("ended_at", "started_at"),),
        ),
        _table(
            "costs",
            "incurred_at",
            (),
            _text("kind", required=True, allowed=("acquisition", "service")),
            Column("amount", "decimal", required=True),
            _time("incurred_at", required=True),
            _text("account_id"),
            Column("hours", "decimal", low=0),
        ),
        _table(
            "fx",
            "date",
            ("currency", "date"),
            _text("currency", required=True),
            _time("date", required=True),
            Column("rate", "decimal", required=True, low=0),
        ),
    )
}

#: Without these there is no account and nothing to predict; every other table is optional.
REQUIRED_TABLES = ("accounts", "subscriptions")
