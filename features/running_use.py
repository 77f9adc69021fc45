"""Counts of use at many midnights: rolled-up use is read from the engine once, and counted out of features/running.py."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from features.catalogue import Count
from features.catalogue.usage import BLOCK_DAYS, FEATURES_IN, REACH_DAYS, USERS_IN
from features.contract import DECIMAL_SCALE
from features.running import DAY_BITS, RunningDays, RunningItems, columns_of

#: The relations that are counted so, and the windows of items; `by_feature` is small.
RELATIONS = {"days": None, "users": USERS_IN, "features": FEATURES_IN}
_LARGEST = int(np.iinfo(np.int64).max)


def sums_fit(query: Callable[[str], pa.Table], days: str) -> bool:
    """Whether all sums of use, of the relation `days`, fit into 64 bits."""
    largest = f"greatest(sum(abs(quantity)), sum(abs(value)) * {10**DECIMAL_SCALE}) >= {_LARGEST} as too_large"
    return not query(f"select {largest} from {days}")["too_large"][0].as_py()


class RunningUse:
    """The rolled-up use of all accounts, in memory.

    `query` answers SQL by an Arrow table; `numbers` is a table (account_id, number) that numbers the accounts from 0;
    `relations`: what to select each of `RELATIONS` from; `columns`: those of the contract that the source has; `days`: the first
    and the last day, since 1970, that a T is at. Sums of use have to fit (`sums_fit`).
    """

    def __init__(
        self,
        query: Callable[[str], pa.Table],
        numbers: str,
        relations: Mapping[str, str],
        columns: Collection[str],
        days: tuple[int, int],
    ) -> None:
        self._query, self._numbers, self.days = query, numbers, days
        self._sums = ["quantity", "first_at", "last_at", *(name for name in ("value", "users") if name in columns)]
        self._hiding = ["known", "until"] if "recorded_at" in columns else []
        self._accounts = query(f"select number from {numbers}").num_rows
        self._of = {
            name: self._days(relations[name]) if within is None else self._items(relations[name], within)
            for name, within in RELATIONS.items()
        }

    def counts(self, rows: pa.Table, counts: Sequence[Count]) -> dict[str, pa.Table]:
        """Return for each relation its counts: spine_id and one column per count.

        `rows`: spine_id, number of the account, midnight (microseconds), in the order of midnights.
        """
        spine, account, midnight = (rows[name].to_numpy() for name in ("spine_id", "number", "midnight"))
        ends = [*np.flatnonzero(np.diff(midnight)) + 1, len(midnight)]
        found: dict[str, list[pa.Table]] = {}
        for start, end in zip([0, *ends], ends, strict=False):
            month = slice(int(start), int(end))
            for name, of in self._of.items():
                asked = [count for count in counts if count.over == name]
                if asked:
                    seen = of.at(account[month], int(midnight[start]) if start < end else 0)
                    columns = {count.name: count.expr(seen) for count in asked}
                    found.setdefault(name, []).append(pa.table({"spine_id": spine[month]} | columns))
        return {name: pa.concat_tables(parts) for name, parts in found.items()}

    def _days(self, relation: str) -> RunningDays:
        names = ", ".join(f'"{name}"' for name in [*self._sums, *self._hiding])
        base = (self.days[0] - REACH_DAYS) // BLOCK_DAYS * BLOCK_DAYS
        # One whole number to order by is several times as fast as two columns.
        key = f"(number << {DAY_BITS}) + day - ({base}) as key"
        read = f"{relation} join {self._numbers} using (account_id) where day >= {base} and day < {self.days[1]}"
        return RunningDays(self._accounts, base, columns_of(self._query(f"select {key}, {names} from {read} order by key")))

    def _items(self, relation: str, within: Mapping[str, tuple[int, int]]) -> RunningItems:
        names = ["first", "active", *self._hiding]
        lists = ", ".join(f'list("{name}") as "{name}"' for name in names)
        grouped = f"{relation} join {self._numbers} using (account_id) group by number, item"
        found = self._query(f"select number, {lists} from {grouped} order by number").combine_chunks()
        ends = np.cumsum(np.bincount(found["number"].to_numpy(), minlength=self._accounts))
        columns = {name: found[name].combine_chunks() for name in names}
        rows = columns_of(pa.table({name: column.flatten() for name, column in columns.items()}))
        item = np.repeat(np.arange(len(found)), columns["first"].value_lengths().to_numpy())
        return RunningItems(ends, rows | {"item": item}, within)
