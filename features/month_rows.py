"""Days of use of one month in one row, as kept rollups hold them: what a window adds up is one running sum less another.

One row for each account and lag, the days that pass before use is known (0: known on its own day). A column that ends in `s` is a
list with one entry for each day with use, ascending:

| column | what it holds |
|---|---|
| first, active | the month's first day, and the days with use as bits: bit 0 is the 31st day, used or not |
| days | the days, since 1970 |
| quantity_sums, value_sums | sums from the month's first day on |
| users, first_ats, last_ats | of each day, as `days` of features/rollup.py has them; `users` is null where no day has any |
| first_at, last_at | of the month |

To read a year of an account is then to look at a place or two of each of its months, however many days it was active on.
"""

from collections.abc import Collection, Sequence
from typing import Any

import ibis

from features.catalogue.usage import BLOCK_DAYS, REACH_OF, VALUE_DAYS, bit_count
from features.contract import DECIMAL_TYPE
from features.windows import band_of

#: Days that one row has room for: those of the longest month.
ROOM = 31
#: Types of the columns in SQL.
_SINGLE = {"account_id": "varchar"} | dict.fromkeys(("lag", "first", "active", "first_at", "last_at"), "bigint")
_LISTS = {
    "days": "bigint",
    "quantity_sums": "bigint",
    "value_sums": DECIMAL_TYPE,
    "users": "bigint",
    "first_ats": "bigint",
    "last_ats": "bigint",
}
#: Lists that tell ages within a month, and how many days before T the others are read.
AGES = ("first_ats", "last_ats")
LIST_DAYS = {"value_sums": max(VALUE_DAYS), "users": REACH_OF["users"]}
_IN_IBIS = {"varchar": "string", "bigint": "int64", DECIMAL_TYPE: DECIMAL_TYPE}
SCHEMA = ibis.schema(
    {name: _IN_IBIS[kind] for name, kind in _SINGLE.items()} | {name: f"array<{_IN_IBIS[kind]}>" for name, kind in _LISTS.items()}
)


def packed(daily: str, first: int) -> str:
    """SQL of the rows of a month that begins on day `first`, over SQL of its `days` relation, each of whose keys stands once."""
    summed = (
        "select account_id, coalesce(known, day) - day as lag, day, (sum(quantity) over months)::bigint as quantity, "
        f"(sum(value) over months)::{DECIMAL_TYPE} as value, users, first_at, last_at from ({daily}) "
        "window months as (partition by account_id, coalesce(known, day) - day order by day)"
    )
    entry = ("day", "quantity", "value", "users", "first_at", "last_at")
    listed = (
        f"select account_id, lag, {first}::bigint as first, bit_or(1::bigint << ({first + ROOM - 1} - day)::integer) as active, "
        f"count(users) as named, list_sort(list(struct_pack({', '.join(f'{name} := {name}' for name in entry)}))) as entries, "
        f"min(first_at) as first_at, max(last_at) as last_at from ({summed}) group by account_id, lag"
    )
    lists = {name: f"list_transform(entries, lambda each: each.{of})" for name, of in zip(_LISTS, entry, strict=True)}
    lists["users"] = f"case when named > 0 then {lists['users']} end"
    columns = ", ".join(lists.get(name, name) + f" as {name}" for name in SCHEMA.names)
    return f"select {columns} from ({listed})"


def unpacked(months: str) -> str:
    """SQL to select the rows of the `days` relation from, over that of months, which must hold all their lists."""
    less = "list_transform({0}, lambda each, place: each - case when place > 1 then coalesce({0}[place - 1], 0) else 0 end)"
    return (
        "(select account_id, 0 as clock, day, case when lag > 0 then day + lag end as known, null::bigint as until, quantity, "
        "value, users, first_at, last_at from (select account_id, lag, unnest(days) as day, "
        f"unnest({less.format('quantity_sums')}) as quantity, unnest({less.format('value_sums')}) as value, "
        "unnest(coalesce(users, list_transform(days, lambda each: null::bigint))) as users, "
        f"unnest(first_ats) as first_at, unnest(last_ats) as last_at from {months}))"
    )


def none() -> str:
    """SQL of no row."""
    single = [f"null::{kind} as {name}" for name, kind in _SINGLE.items()]
    return f"(select {', '.join([*single, *(_null(name) for name in _LISTS)])} limit 0)"


def without(lists: Collection[str]) -> str:
    """A SQL list of all columns, with null for these lists, which are then not read.

    >>> without(["users"]).split(", ")[-3:]
    ['null::bigint[] as users', 'first_ats', 'last_ats']
    """
    return ", ".join(_null(name) if name in lists else name for name in SCHEMA.names)


def in_bands(months: Any, rows: Any, edges: Sequence[int]) -> Any:
    """Add months up in bands of age, as `features.windows.in_bands` does days, for rows (spine_id, account_id, as_of, clock, day)
    at midnight.
    """
    rows, months = rows.filter(rows.clock == 0).rename(at="day"), months.rename(month_account_id="account_id")
    begun, over = months["first"] < rows["at"], months["first"] + ROOM <= rows["at"] - edges[-1]
    found = rows.join(months, [rows.account_id == months.month_account_id, begun, ~over])
    since = found["at"] - found["first"]
    youngest, oldest = band_of(ibis.greatest(since - ROOM, 0), edges), band_of(since - 1, edges).fill_null(len(edges) - 2)
    found = found.mutate(since=since, band=ibis.range(youngest.cast("int64"), oldest.cast("int64") + 1).unnest())
    bounds = ibis.literal(edges, type="array<int64>")
    found = found.mutate(near=bounds[found.band], far=bounds[found.band + 1])
    # Days of the month before which the band begins and ends; what is not known yet is after its end.
    low, high = _within(found.since - found.far), _within(found.since - ibis.greatest(found.near, found.lag))
    found = found.mutate(low=ROOM - low, high=ROOM - high)
    found = found.mutate(
        before=bit_count(found.active >> found.low).cast("int64"), until=bit_count(found.active >> found.high).cast("int64")
    )
    found = found.filter(found.until > found.before)
    # An age that lists which were not read would tell is not the month's outermost: another band's is.
    whole = found.until == bit_count(found.active).cast("int64")
    one = ibis.literal(1, type="int64")
    used = found.active & ((one << found.low) - (one << found.high))
    # Bit 0 of a month is its 31st day, bit 0 of a block the last day before T that it holds.
    block = found.near // BLOCK_DAYS
    shift = found.since - ROOM - block * BLOCK_DAYS
    return found.select(
        "spine_id",
        found.band.cast("int8").name("band"),
        quantity=_between(found.quantity_sums, found.before, found.until),
        youngest=found.as_of - ibis.ifelse(whole, found.last_at, found.last_ats[found.until - 1]),
        oldest=found.as_of - ibis.ifelse(found.before == 0, found.first_at, found.first_ats[found.before]),
        value=_between(found.value_sums, found.before, found.until),
        users=found.users[found.before : found.until].maxs(),
        active=ibis.ifelse(shift >= 0, used << ibis.greatest(shift, 0), used >> ibis.greatest(-shift, 0)),
        block=block,
    )


def _null(name: str) -> str:
    return f"null::{_LISTS[name]}[] as {name}"


def _within(days: Any) -> Any:
    return ibis.greatest(ibis.least(days, ROOM), 0)


def _between(sums: Any, before: Any, until: Any) -> Any:
    earlier = ibis.ifelse(before > 0, sums[before - 1], 0)
    return sums[until - 1] - ibis.coalesce(earlier, 0)
