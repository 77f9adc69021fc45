"""Rolled-up use at T (features/rollup.py), as the declarations of counts read it: `Days` by day, `Items` users or features."""

from collections.abc import Mapping, Sequence
from typing import Any

import ibis

from features.catalogue import DAY
from features.catalogue.declare import within
from features.catalogue.usage import BLOCK_DAYS


class Days:
    """Aggregates over the bands of age that `by_age` makes."""

    def __init__(self, bands: Any) -> None:
        self._bands = bands

    def total(self, column: str, days: int, skip: int = 0) -> Any:
        """The sum of a column in the window [T − skip − days, T − skip), in days."""
        return self._bands[column].sum(where=within(self._bands, days, skip=skip))

    def most(self, column: str, days: int, skip: int = 0) -> Any:
        """The most that a day of the window has."""
        return self._bands[column].max(where=within(self._bands, days, skip=skip))

    def active_days(self, block: int) -> Any:
        """The days with use of a block of `BLOCK_DAYS` as bits: bit 0 of block 0 is the last 24 hours before T."""
        return self._bands.active.bit_or(where=self._bands.block == block)

    def last_age(self) -> Any:
        """Microseconds from the last event to T."""
        return self._bands.age.min()

    def first_age(self) -> Any:
        """Microseconds from the first event that is read to T."""
        return self._bands.oldest.max()


class Items:
    """Counts over the users or features that `active_items` finds."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def active(self, window: str) -> Any:
        """How many were active in the window of this name."""
        return self._found.count(where=self._found[f"active_{window}"])


def at_instants(rolled: Any, rows: Any, *, reach: int, block: int = 1) -> Any:
    """Join the rows (spine_id, account_id, as_of, clock, day) with the rolled-up ones that T may read, `reach` days back.

    `block`: how many days one rolled-up row speaks of.
    """
    rows = rows.rename(at="day")
    rolled = rolled.rename(rolled_account_id="account_id", rolled_clock="clock")
    first = rolled["day" if block == 1 else "first"]
    conditions = [
        rows.account_id == rolled.rolled_account_id,
        rows.clock == rolled.rolled_clock,
        first < rows["at"],
        first > rows["at"] - reach - block,
        rolled.known.isnull() | (rolled.known < rows["at"]),
        rolled.until.isnull() | (rolled.until >= rows["at"]),
    ]
    return rows.join(rolled, conditions)


def by_age(found: Any, edges: Sequence[int], by: Sequence[str] = ()) -> Any:
    """Add up daily rows in the bands of age between `edges` (days before T, ascending, from 0): one row for each band.

    A window that begins and ends at edges holds a whole band or nothing of it. Columns: `age` of the band's latest event
    (microseconds before T) and `quantity`; without `by` also `oldest`, the age of its earliest event, `value`, `users` (the most
    in a day), `active`: its days with use as bits of the block of `BLOCK_DAYS` before T that it lies in, and `block`, its number.
    """
    found = found.mutate(ago=found["at"] - found.day - 1)
    band = ibis.cases(*((found.ago < edge, position) for position, edge in enumerate(edges[1:])))
    found = found.mutate(band=band).filter(found.ago < edges[-1])
    sums = {"quantity": found.quantity.sum().cast("int64")}
    if by:
        sums["age"] = (found.ago * DAY + 1).min()
    else:
        sums |= {
            "age": found.as_of.max() - found.last_at.max(),
            "oldest": found.as_of.max() - found.first_at.min(),
            "value": found["value"].sum(),
            "users": found.users.max(),
            "active": (ibis.literal(1, type="int64") << (found.ago % BLOCK_DAYS)).bit_or(),
            "block": (found.ago // BLOCK_DAYS).cast("int64").max(),
        }
    return found.group_by("spine_id", *by, "band").aggregate(**sums)


def active_items(found: Any, windows: Mapping[str, tuple[int, int]]) -> Any:
    """Return one row for each spine row and item, with `active_<name>` for each window: (days, days between its end and T)."""
    since = found["at"] - found.first
    active = {}
    for name, (length, skip) in windows.items():
        low, high = (ibis.greatest(ibis.least(since - days, BLOCK_DAYS), 0) for days in (skip + length, skip))
        one = ibis.literal(1, type="int64")
        active[f"active_{name}"] = ((found.active & ((one << high) - (one << low))) != 0).max()
    return found.group_by("spine_id", "item").aggregate(**active)
