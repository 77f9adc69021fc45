"""Rolled-up use at many midnights, out of running sums: what a window adds up is one sum less another, and no row is read again.

The same answers as features/windows.py gives, for rows of T at midnight, as arrays; a month of the backfill then costs what its
accounts do, not what their year of use does. Rows that were late, or that a later version took the place of, are seen by some T
and not by others; they have running sums of their own at each T.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.catalogue import DAY
from features.catalogue.usage import BLOCK_DAYS, REACH_DAYS
from features.contract import DECIMAL_SCALE

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
#: Stands for a row that was known on its day, and for one that was never superseded.
_AT_ONCE, _NEVER = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
_WHOLE_BLOCK = np.uint64((1 << BLOCK_DAYS) - 1)
_SUMS = ("quantity", "value")
#: Accounts are told apart by the bits above those of a day.
DAY_BITS = 20


def columns_of(rows: pa.Table) -> dict[str, Ints]:
    """Columns of whole numbers as arrays; a null is 0, but in `known` and `until` it says that the row was never hidden."""
    nulls = {"known": _AT_ONCE, "until": _NEVER}
    filled = {
        name: rows[name].fill_null(nulls.get(name, 0)) if rows[name].null_count else rows[name] for name in rows.column_names
    }
    return {name: _whole(column) for name, column in filled.items()}


def _whole(column: pa.ChunkedArray) -> Ints:
    """Whole numbers, or the units of decimals: of 128 bits the lower ones, which hold all that fits into 64."""
    if not pa.types.is_decimal(column.type):
        return column.to_numpy()
    parts = [
        np.frombuffer(chunk.buffers()[1], np.int64).reshape(-1, 2)[chunk.offset :][: len(chunk), 0] for chunk in column.chunks
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


@dataclass(frozen=True)
class _Sums:
    """Rows of use by day, ordered by account and day, each once, and their running sums.

    `bits`: one number for each account's block of days, the first day highest; `before`: how many rows lie before each block.
    """

    columns: Mapping[str, Ints]
    sums: Mapping[str, Ints]
    blocks: int
    bits: Bits
    before: Ints

    @classmethod
    def of(cls, accounts: int, rows: Mapping[str, Ints]) -> Self:
        columns, key = dict(rows), rows["key"]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        if len(starts) < len(key):
            by = {"users": np.maximum, "last_at": np.maximum, "first_at": np.minimum}
            columns = {name: by.get(name, np.add).reduceat(values, starts) for name, values in columns.items()}
            key = key[starts]
        # Sums may wrap around; the differences that are asked for do not, see features/running_use.py.
        sums = {name: np.concatenate([[0], np.cumsum(columns[name])]) for name in _SUMS if name in columns}
        account, day = key >> DAY_BITS, key & ((1 << DAY_BITS) - 1)
        blocks = int(day.max(initial=0)) // BLOCK_DAYS + 1
        bits = _bits(accounts * blocks, account * blocks + day // BLOCK_DAYS, day % BLOCK_DAYS)
        before = np.concatenate([[0], np.cumsum(np.bitwise_count(bits), dtype=np.int64)])
        return cls(columns, sums, blocks, np.append(bits, np.uint64(0)), before)

    def rows_before(self, account: Ints, day: int) -> Ints:
        """How many rows lie before a day of each account, those of the accounts before it included."""
        block, days = divmod(min(max(day, 0), self.blocks * BLOCK_DAYS), BLOCK_DAYS)
        place = account * self.blocks + block
        return self.before[place] + np.bitwise_count(self.bits[place] >> np.uint64(BLOCK_DAYS - days))

    def block(self, account: Ints, number: int) -> Bits:
        """The days of each account's block as bits."""
        return self.bits[account * self.blocks + number] if 0 <= number < self.blocks else np.zeros(len(account), np.uint64)


def _bits(number: int, place: Ints, day: Ints) -> Bits:
    """Set bits of so many blocks; `place`, ascending, says which block, `day` which day of it."""
    bits = np.zeros(number, np.uint64)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    if len(starts):
        marks = np.left_shift(np.uint64(1), (BLOCK_DAYS - 1 - day).astype(np.uint64))
        bits[place[starts]] = np.bitwise_or.reduceat(marks, starts)
    return bits


class _DaysOf:
    """What `features.windows.Days` says of bands, of running sums at one midnight."""

    def __init__(self, sums: _Sums, account: Ints, midnight: int, base: int) -> None:
        self._sums, self._account, self._midnight = sums, account, midnight
        self._day = midnight // DAY - base
        self._before: dict[int, Ints] = {}

    def total(self, column: str, days: int, skip: int = 0) -> Ints:
        sums = self._sums.sums[column]
        return sums[self._until(skip)] - sums[self._until(skip + days)]

    def most(self, column: str, days: int, skip: int = 0) -> Ints:
        return _most(self._sums.columns[column], self._until(skip + days), self._until(skip))

    def active_days(self, block: int) -> Ints:
        at, shift = divmod(self._day - BLOCK_DAYS * (block + 1), BLOCK_DAYS)
        older, newer = (self._sums.block(self._account, number) for number in (at, at + 1))
        left, right = np.uint64(shift), np.uint64(BLOCK_DAYS - shift)
        return (((older << left) & _WHOLE_BLOCK) | (newer >> right)).astype(np.int64)

    def last_age(self) -> Ints:
        return self._age("last_at", self._until(0) - 1)

    def first_age(self) -> Ints:
        return self._age("first_at", self._until(REACH_DAYS))

    def _age(self, column: str, place: Ints) -> Ints:
        found = self._until(REACH_DAYS) < self._until(0)
        ages = np.full(len(place), -1)
        ages[found] = self._midnight - self._sums.columns[column][place[found]]
        return ages

    def _until(self, days: int) -> Ints:
        """Where each account's rows of fewer than so many days before T begin."""
        if days not in self._before:
            self._before[days] = self._sums.rows_before(self._account, self._day - days)
        return self._before[days]


def _most(values: Ints, first: Ints, end: Ints) -> Ints:
    """The most of each run of values from `first` to `end`; 0 for an empty one."""
    found = np.zeros(len(first), np.int64)
    some = np.flatnonzero(end > first)
    if len(some):
        # Pairs of a run and what lies between it and the next one; a run may end where the values do.
        bounds = np.stack([first[some], end[some]], axis=1).ravel()
        found[some] = np.maximum.reduceat(np.append(values, 0), bounds)[::2]
    return found


class _Together:
    """Use on time and late use at one midnight, as one."""

    def __init__(self, parts: list[_DaysOf]) -> None:
        self._parts = parts

    def total(self, column: str, days: int, skip: int = 0) -> pa.Array:
        found = self._of(np.add, lambda part: part.total(column, days, skip))
        return _decimals(found) if column == "value" else pa.array(found)

    def most(self, column: str, days: int, skip: int = 0) -> pa.Array:
        return pa.array(self._of(np.maximum, lambda part: part.most(column, days, skip)))

    def active_days(self, block: int) -> pa.Array:
        return pa.array(self._of(np.bitwise_or, lambda part: part.active_days(block)))

    def last_age(self) -> pa.Array:
        # An age of −1, that of nothing, is the largest number without a sign.
        return _ages(self._of(np.minimum, lambda part: part.last_age().view(np.uint64)).view(np.int64))

    def first_age(self) -> pa.Array:
        return _ages(self._of(np.maximum, lambda part: part.first_age()))

    def _of(self, both: Callable[[Any, Any], Any], ask: Callable[[_DaysOf], Any]) -> Any:
        return reduce(both, map(ask, self._parts))


def _ages(found: Ints) -> pa.Array:
    return pa.array(found, mask=found < 0)


def _decimals(units: Ints) -> pa.Array:
    """Whole units of the contract's decimals, as such."""
    words = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(pa.decimal128(38, DECIMAL_SCALE), len(units), [None, pa.py_buffer(words)])


class RunningDays:
    """Use by day of accounts that are numbered from 0.

    `rows`: key (the account's number << `DAY_BITS`, plus the day since `base`), ascending, quantity, first_at, last_at, and those
    of value, users, known and until that there are (`columns_of`). `base`: a day since 1970, a whole number of blocks.

    >>> day = 62 * 300
    >>> rows = {"key": [1, 3], "quantity": [5, 7], "first_at": [day * DAY, day * DAY], "last_at": [day * DAY, day * DAY]}
    >>> found = RunningDays(1, day, {name: np.array(values) for name, values in rows.items()}).at(np.array([0]), (day + 4) * DAY)
    >>> found.total("quantity", 1).to_pylist(), found.total("quantity", 3).to_pylist()
    ([7], [12])
    """

    def __init__(self, accounts: int, base: int, rows: Mapping[str, Ints]) -> None:
        self._accounts, self._base = accounts, base
        hidden = _hidden(rows)
        self._on_time = _Sums.of(accounts, rows if not hidden.any() else _rows(rows, ~hidden))
        self._late = _rows(rows, hidden)

    def at(self, account: Ints, midnight: int) -> _Together:
        """The use of these accounts as T, in microseconds, reads it."""
        parts = [_DaysOf(self._on_time, account, midnight, self._base)]
        if len(self._late["key"]):
            seen = _Sums.of(self._accounts, _rows(self._late, _visible(self._late, midnight // DAY)))
            parts.append(_DaysOf(seen, account, midnight, self._base))
        return _Together(parts)


class RunningItems:
    """The users, or the features, of accounts that are numbered from 0, and the days on which each was active.

    `rows`: item, first, active, and known and until if there are (`columns_of`), items numbered from 0 in the order of their
    accounts; `ends`: how many items the accounts up to each one have. `within`: the windows, as in
    `features.windows.active_items`.

    >>> rows = {"item": np.array([0, 1]), "first": np.array([0, 0]), "active": np.array([0b10, 0b10000])}
    >>> users = RunningItems(np.array([2]), rows, {"7d": (7, 0), "2d": (2, 0)}).at(np.array([0]), 5 * DAY)
    >>> users.active("7d").to_pylist(), users.active("2d").to_pylist()
    ([2], [1])
    """

    def __init__(self, ends: Ints, rows: Mapping[str, Ints], within: Mapping[str, tuple[int, int]]) -> None:
        order = np.argsort(rows["first"], kind="stable")
        self._rows, self._ends, self._within = _rows(rows, order), np.concatenate([[0], ends]), within
        self._versioned = bool(_hidden(rows).any())

    def at(self, account: Ints, midnight: int) -> "_ItemsOf":
        """The users or features of these accounts as T, in microseconds, reads them."""
        day, reach = midnight // DAY, max(map(sum, self._within.values()))
        first, end = np.searchsorted(self._rows["first"], [day - reach - BLOCK_DAYS + 1, day])
        rows = _rows(self._rows, slice(int(first), int(end)))
        if self._versioned:
            rows = _rows(rows, _visible(rows, day))
        starts = np.flatnonzero(np.diff(rows["first"], prepend=-1))
        blocks = [_rows(rows, slice(int(a), int(b))) for a, b in pairwise([*starts, len(rows["first"])])]
        return _ItemsOf(blocks, self._ends, account, day, self._within)


@dataclass(frozen=True)
class _ItemsOf:
    """What `features.windows.Items` says of items found, of the rows of each block of days at one midnight."""

    blocks: Sequence[Mapping[str, Ints]]
    ends: Ints
    account: Ints
    day: int
    within: Mapping[str, tuple[int, int]]

    def active(self, window: str) -> pa.Array:
        length, skip = self.within[window]
        seen = np.zeros(self.ends[-1], bool)
        for rows in self.blocks:
            since = self.day - int(rows["first"][0])
            low, high = (min(max(since - days, 0), BLOCK_DAYS) for days in (skip + length, skip))
            if low < high:
                seen[rows["item"][(rows["active"] & ((1 << high) - (1 << low))) != 0]] = True
        running = np.concatenate([[0], np.cumsum(seen)])
        return pa.array((running[self.ends[1:]] - running[self.ends[:-1]])[self.account])


def _rows(rows: Mapping[str, Ints], chosen: Any) -> dict[str, Ints]:
    return {name: values[chosen] for name, values in rows.items()}


def _hidden(rows: Mapping[str, Ints]) -> npt.NDArray[np.bool_]:
    """Which rows some T after their day must not read."""
    if "known" not in rows:
        return np.zeros(len(next(iter(rows.values()))), bool)
    return (rows["known"] != _AT_ONCE) | (rows["until"] != _NEVER)


def _visible(rows: Mapping[str, Ints], day: int) -> npt.NDArray[np.bool_]:
    return (rows["known"] < day) & (rows["until"] >= day)
