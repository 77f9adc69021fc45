"""Use rolled up: events are read once and added up by day, user, feature; no window is ever joined with events.

A day is 24 hours that end at the clock time of T, so that every window of whole days before T is a run of whole days: `clock` is
that time, in microseconds past midnight. A rolled-up row keeps when it could be read, in the same days: T on day D may use what
lies on a day before D, was known on a day before D, and was not superseded before D (domain.md §2 "Point in time").

| relation | one row for each | and what it holds |
|---|---|---|
| days | account, day | sums of quantity and value, the most users, the first and the last instant |
| by_feature | account, feature, day | the sum of quantity, for the features that declarations name; in kept rollups for all |
| users, features | account, user or feature, block of days | the days with use as bits of an integer |

Days, users and features that are active within a window are then counted from bits; see features/windows.py.
"""

from collections.abc import Collection, Mapping
from typing import Any

import ibis

from features.catalogue import DAY
from features.catalogue.usage import BLOCK_DAYS
from features.contract import DECIMAL_TYPE

#: When events that are recorded as they happen, and have no versions, became known and were superseded.
NEVER_LATE = {"known": ibis.null("int64"), "until": ibis.null("int64")}
#: The relations and the columns that tell their rows apart, beside `known` and `until`.
KEYS = {
    "days": ("account_id", "clock", "day"),
    "by_feature": ("account_id", "clock", "feature", "day"),
    "users": ("account_id", "clock", "item", "first"),
    "features": ("account_id", "clock", "item", "first"),
}


def on_days(events: Any, *, versioned: bool) -> Any:
    """Place prepared events, with the `clock` that they are read at, on days.

    Adds `day`, and `known`, `until`: the day on which the row became known (null: on its own) and on which a later version took
    its place (null: never). Rows that were superseded before any T could read them are left out.
    """
    placed = events.mutate(day=_day(events.occurred_at, events.clock))
    if not versioned:
        return placed.mutate(**NEVER_LATE)
    known, until = _day(placed.known_at, placed.clock), _day(placed.superseded_at, placed.clock)
    placed = placed.mutate(known=known.nullif(placed.day), until=until)
    return placed.filter(placed.until.isnull() | (placed.until > known))


def _day(instant: Any, clock: Any) -> Any:
    return ((instant - clock) // DAY).cast("int64")


def relations(
    placed: Any, columns: Collection[str], named: Any, same: Mapping[str, Any] | None = None, first: str | None = None
) -> dict[str, Any]:
    """Return each relation over events placed on days.

    `columns`: those of the contract that the source has; `named(rows)` is true where a declaration names the row's feature;
    `same`: keys that are the same literal in all rows, which then costs nothing to group by. `first` names a column
    with the first day of the rows' block, of at most `BLOCK_DAYS`; None: blocks of so many days since 1970.
    """
    same = same or {}
    rows = placed.mutate(first=placed.day - _modulo(placed.day) if first is None else placed[first])
    return {
        "days": _added(placed, "days", columns, same),
        "by_feature": _added(placed.filter(named(placed)), "by_feature", (), same),
        "users": _marked(rows, rows.user_id, "users", same),
        "features": _marked(rows, rows.feature, "features", same),
    }


def _added(placed: Any, relation: str, columns: Collection[str], same: Mapping[str, Any]) -> Any:
    sums = {"quantity": placed.quantity.sum().cast("int64")}
    if relation == "days":
        sums["value"] = placed["value"].sum().cast(DECIMAL_TYPE) if "value" in columns else ibis.null(DECIMAL_TYPE)
        sums["users"] = placed.users.max() if "users" in columns else ibis.null("int64")
        sums |= {"first_at": placed.occurred_at.min(), "last_at": placed.occurred_at.max()}
    return _grouped(placed, relation, same, sums)


def _marked(rows: Any, item: Any, relation: str, same: Mapping[str, Any]) -> Any:
    rows = rows.mutate(item=item)
    rows = rows.filter(rows.item.notnull())
    active = (ibis.literal(1, type="int64") << (rows.day - rows.first)).bit_or()
    return _grouped(rows, relation, same, {"active": active})


def _grouped(rows: Any, relation: str, same: Mapping[str, Any], totals: Mapping[str, Any]) -> Any:
    keys = (*KEYS[relation], "known", "until")
    found = rows.group_by([key for key in keys if key not in same]).aggregate(**totals)
    return found.mutate(**same).select(*keys, *totals) if same else found


def merged(relation: str, rows: Any) -> Any:
    """Add rows of a relation up where their keys are the same."""
    sums = {
        "quantity": lambda column: column.sum().cast("int64"),
        "value": lambda column: column.sum().cast(DECIMAL_TYPE),
        "users": lambda column: column.max(),
        "first_at": lambda column: column.min(),
        "last_at": lambda column: column.max(),
        "active": lambda column: column.bit_or(),
    }
    keys = [*KEYS[relation], "known", "until"]
    return rows.group_by(keys).aggregate(**{name: sums[name](rows[name]) for name in rows.columns if name not in keys})


def _modulo(day: Any) -> Any:
    """Which day of its block a day is; days before 1970 are negative."""
    return ((day % BLOCK_DAYS) + BLOCK_DAYS) % BLOCK_DAYS
