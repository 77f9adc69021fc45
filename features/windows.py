"""Rolled-up use at T (features/rollup.py), as the declarations of counts read it: `Days` by day, `Items` users or features."""

from collections.abc import Mapping, Sequence
from typing import Any

import ibis

from features.catalogue import DAY
from features.catalogue.usage import BLOCK_DAYS


class Days:
    """Aggregates over the bands that `in_bands` makes, `edges` as there; windows begin and end at edges."""

    def __init__(self, bands: Any, edges: Sequence[int]) -> None:
        self._bands, self._edges = bands, edges

    def total(self, column: str, days: int, skip: int = 0) -> Any:
        """The sum of a column in the window [T − skip − days, T − skip), in days."""
        return self._bands[column].sum(where=self._within(days, skip))

    def most(self, column: str, days: int, skip: int = 0) -> Any:
        """The most that a day of the window has."""
        return self._bands[column].max(where=self._within(days, skip))

    def active_days(self, block: int) -> Any:
        """The days with use of a block of `BLOCK_DAYS` as bits: bit 0 of block 0 is the last 24 hours before T."""
        return self._bands.active.bit_or(where=self._bands.block == block)

    def last_age(self) -> Any:
        """Microseconds from the last event to T."""
        return self._bands.youngest.min()

    def first_age(self) -> Any:
        """Microseconds from the first event that is read to T."""
        return self._bands.oldest.max()

    def _within(self, days: int, skip: int) -> Any:
        first, last = (self._edges.index(edge) for edge in (skip, skip + days))
        return (self._bands.band >= first) & (self._bands.band < last)


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


def band_of(ago: Any, edges: Sequence[int]) -> Any:
    """Number the bands of age between `edges` (days before T, ascending, from 0): the one that a day lies in, so many days before
    T; null where it lies in none.
    """
    return ibis.cases(*((ago < edge, position) for position, edge in enumerate(edges[1:])))


def in_bands(found: Any, edges: Sequence[int]) -> Any:
    """Add up daily rows in bands of age, one row for each; a window that begins and ends at edges holds all of a band or nothing.

    Columns: spine_id, band (`band_of`), `youngest` and `oldest`, the ages of its latest and its earliest event (microseconds
    before T), `quantity`, `value`, `users` (the most in a day), `active`: its days with use as bits of the block of `BLOCK_DAYS`
    before T that it lies in, and `block`, its number. Some bands of a row of the spine may stand in several rows.
    """
    found = _banded(found, edges)
    return found.group_by("spine_id", "band").aggregate(
        quantity=found.quantity.sum().cast("int64"),
        youngest=found.as_of.max() - found.last_at.max(),
        oldest=found.as_of.max() - found.first_at.min(),
        value=found["value"].sum(),
        users=found.users.max(),
        active=(ibis.literal(1, type="int64") << (found.ago % BLOCK_DAYS)).bit_or(),
        block=(found.ago // BLOCK_DAYS).cast("int64").max(),
    )


def by_feature(found: Any, edges: Sequence[int]) -> Any:
    """Add up daily rows of named features in bands of age: `quantity`, and `age`, one that lies in the band (microseconds)."""
    found = _banded(found, edges)
    return found.group_by("spine_id", "feature", "band").aggregate(
        quantity=found.quantity.sum().cast("int64"), age=(found.ago * DAY + 1).min()
    )


def _banded(found: Any, edges: Sequence[int]) -> Any:
    found = found.mutate(ago=found["at"] - found.day - 1)
    return found.mutate(band=band_of(found.ago, edges)).filter(found.ago < edges[-1])


def active_items(found: Any, windows: Mapping[str, tuple[int, int]]) -> Any:
    """Return one row for each spine row and item, with `active_<name>` for each window: (days, days between its end and T)."""
    # Which bits of a block lie in a window hangs on how far it is from T alone: looked up, not worked out for each row.
    reach = max(map(sum, windows.values()))
    since = ibis.range(1, reach + BLOCK_DAYS).unnest().name("since").as_table().select(since=lambda t: t.since.cast("int64"))
    inside = since.mutate(**{f"inside_{name}": _bits(since.since, *window) for name, window in windows.items()})
    found = found.join(inside, (found["at"] - found.first) == inside.since)
    active = {f"active_{name}": ((found.active & found[f"inside_{name}"]) != 0).max() for name in windows}
    return found.group_by("spine_id", "item").aggregate(**active)


def _bits(since: Any, length: int, skip: int) -> Any:
    """The bits of a block that began `since` days before T whose days lie in [T − skip − length, T − skip)."""
    low, high = (ibis.greatest(ibis.least(since - days, BLOCK_DAYS), 0) for days in (skip + length, skip))
    one = ibis.literal(1, type="int64")
    return (one << high) - (one << low)
