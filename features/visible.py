"""What may be seen at T: rows that happened and were recorded before T, in the version that held, later facts masked.

This is the one place that decides it (domain.md §2 "Point in time").
"""

from collections.abc import Sequence
from typing import Any

import ibis

from features.catalogue import DAY, reach_days
from features.catalogue.declare import as_decimal
from features.contract import IBIS_TYPES, TABLES, Column

_EPOCH = ibis.timestamp("1970-01-01")
#: Money × rate, exactly: both have six decimal places.
_PRODUCT_TYPE = "decimal(38, 12)"


def micros(time: Any) -> Any:
    """Microseconds since 1970 of a timestamp column."""
    return time.cast("timestamp(6)").delta(_EPOCH, unit="microsecond")


def prepare(name: str, table: Any, *, versions: bool = True) -> Any:
    """Bring a source table into the form that `visible` reads: contract types, times in microseconds, versions dated.

    Columns of the contract that the table lacks become typed nulls. `known_at` is when the row could first be read: the later of
    its event and its record. `superseded_at` is when a later version of the same key was recorded (null: never): the version in
    force at T is the one with recorded_at < T ≤ superseded_at, found without looking at any T. `versions`: false where each key
    is known to be there once.
    """
    contract = TABLES[name]
    prepared = table.select(**{column.name: _column(name, table, column) for column in contract.columns})
    recorded = prepared.recorded_at.fill_null(prepared[contract.event])
    # A row that does not say when it happened (a contact's valid_from may be missing) is known from its record on.
    event = prepared[contract.event].fill_null(recorded)
    prepared = prepared.mutate(recorded_at=recorded, known_at=ibis.greatest(event, recorded))
    return prepared.mutate(superseded_at=_superseded_at(name, prepared, versioned=versions and "recorded_at" in table.columns))


def _column(name: str, table: Any, column: Column) -> Any:
    kind = IBIS_TYPES[column.kind]
    if column.name not in table.columns:
        absent = ibis.null("int64" if column.kind == "time" else kind)
        return absent if column.default is None else ibis.literal(column.default, type=kind)
    value = table[column.name]
    if getattr(value.type(), "timezone", None):
        raise ValueError(f"{name}.{column.name} has the time zone {value.type().timezone}: give naive times, in UTC")
    if column.kind == "time":
        return micros(value)
    value = _cast(value, column)
    return value if column.default is None else value.fill_null(ibis.literal(column.default, type=kind))


def _cast(value: Any, column: Column) -> Any:
    """Bring a value to the contract's type: what has to be rounded is rounded here, as engines do it each in its own way."""
    kind = IBIS_TYPES[column.kind]
    if column.kind == "decimal" and value.type().is_floating():
        return as_decimal(value.cast("float64"))
    if column.kind == "integer" and (value.type().is_floating() or value.type().is_decimal()):
        return value.round(0).cast(kind)
    return value.cast(kind)


def _superseded_at(name: str, prepared: Any, *, versioned: bool) -> Any:
    key = TABLES[name].key
    if not versioned or not key:
        return ibis.null("int64")
    others = [prepared[c] for c in prepared.columns if c not in ("recorded_at", "known_at")]
    following = prepared.recorded_at.lead().over(group_by=[prepared[c] for c in key], order_by=[prepared.recorded_at, *others])
    # A table of single events may leave its id out: rows without one are not versions of each other.
    return ibis.ifelse(prepared[key[0]].isnull(), None, following) if len(key) == 1 else following


def visible(name: str, prepared: Any, spine: Any) -> Any:
    """Join the spine (spine_id, account_id, as_of in microseconds) with the rows of a prepared table that T may use.

    Adds `as_of` and `age` (microseconds from the event to T, always > 0).
    """
    contract = TABLES[name]
    rows = prepared.rename(row_account_id="account_id")
    conditions = [spine.account_id == rows.row_account_id, *_in_force(rows, spine)]
    reach = reach_days(name)
    if reach is not None:
        conditions.append(rows[contract.event] >= spine.as_of - reach * DAY)
    joined = spine.join(rows, conditions)
    joined = joined.mutate(age=joined.as_of - joined[contract.event])
    masked = {
        column.name: ibis.ifelse(joined[column.known_at] < joined.as_of, joined[column.name], None)
        for column in contract.columns
        if column.known_at is not None
    }
    return joined.mutate(**masked)


def _in_force(rows: Any, spine: Any) -> list[Any]:
    """Happened and recorded before T, and no later version recorded before T."""
    return [rows.known_at < spine.as_of, rows.superseded_at.isnull() | (rows.superseded_at >= spine.as_of)]


def with_reported(rows: Any, money: str, spine: Any, fx: Any | None, foreign: Sequence[str]) -> Any:
    """Add to visible rows `reported`: the column `money` in the reporting currency, and `unrated`: no rate stands at T.

    `fx` is prepared; `foreign` are the currencies that have rates, any other is the reporting currency. The rate is the latest
    dated, and recorded, before T. The rows' own past is read at it too, so that a change of price is no change of rates.
    """
    if fx is None or not foreign:
        return rows.mutate(reported=rows[money].cast(_PRODUCT_TYPE), unrated=ibis.literal(value=False))
    instants = spine.select("as_of").distinct()
    dated = fx.select("date", "rate", "known_at", "superseded_at", rate_currency="currency")
    known = instants.join(dated, [dated.rate_currency.isin(foreign), *_in_force(dated, instants)])
    latest = ibis.window(group_by=[known.as_of, known.rate_currency], order_by=[known.date.desc(), known.rate.desc()])
    ranked = known.mutate(place=ibis.row_number().over(latest))
    rates = ranked.filter(ranked.place == 0).select("rate_currency", "rate", rate_as_of="as_of")
    joined = rows.left_join(rates, [rows.as_of == rates.rate_as_of, rows.currency == rates.rate_currency])
    converted = joined.currency.isin(foreign)
    exchanged = (joined[money] * joined.rate).cast(_PRODUCT_TYPE)
    return joined.mutate(
        reported=ibis.ifelse(converted, exchanged, joined[money].cast(_PRODUCT_TYPE)),
        unrated=(converted & joined.rate.isnull()).fill_null(False),
    ).drop("rate_currency", "rate", "rate_as_of")
