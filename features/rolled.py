"""Kept rollups as a builder reads them: partitions by month, and the rows of events that are in none of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from features import month_rows
from features.catalogue.usage import REACH_DAYS
from features.month_rows import AGES, LIST_DAYS
from features.rollup_state import State, checked, last_state, month_days, naming_damage
from features.sources import SourceError, literal

#: Accounts by month.
Accounts = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Rolled:
    """Rolled-up use to build features from, in the place of the table `usage`, for midnights (`features.builder.Builder`).

    `recurring`: the rows of events that are in no partition, as an Ibis table with the contract's columns. The partitions of a
    month do not count for the accounts `apart`: their rows are among `recurring`, as `read_again` read them. `arrived`: rows of
    `recurring` that came beside the files; None: there are none.
    """

    folder: Path
    state: State
    recurring: Any
    read_again: Callable[[Accounts], Any] | None = None
    apart: Accounts = field(default_factory=dict)
    arrived: Any = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the contract that rows have."""
        return tuple(self.recurring.columns)

    def set_apart(self, events: Any) -> "Rolled":
        """Make room for further versions of events that partitions may hold: an Ibis table with `event_id`.

        Raises SourceError where rows that have to be read again cannot be.
        """
        connection = self.recurring.get_backend()
        ids = events.filter(events.event_id.notnull()).select("event_id").distinct()
        queries = [
            f"select distinct {literal(month)} as month, account_id from {_parquet(self._checked(parts['ids']))} "
            f"where id in (select hash(event_id) from ({connection.compile(ids)}))"
            for month, parts in sorted(self.state.parts.items())
        ]
        with naming_damage(self.folder, self.state):
            found = connection.con.execute(" union all ".join(queries)).fetchall() if queries else []
        apart: dict[str, tuple[str, ...]] = {}
        for month, account in found:
            apart[month] = (*apart.get(month, ()), account)
        if not apart:
            return self
        if self.read_again is None:
            raise ValueError("rows that partitions hold are read again from their files: give them to RollupStore.rolled")
        rest = self.read_again(apart).select(*self.columns)
        return replace(self, recurring=self.recurring.union(rest, distinct=False), apart=apart)

    def rows(self, relation: str, first: int, last: int) -> str | None:
        """SQL to select the rows of a relation from, those of days in [first, last), days since 1970; None where there are none.

        Those of `days` are months (features/month_rows.py). Raises SourceError where a file of them is gone or damaged.
        """
        return _together(self._of(relation, [month for month, *_ in self._between(first, last)]))

    def by_feature(self, product_features: Collection[str], first: int, last: int) -> str | None:
        """SQL to select the rows of `by_feature` from, as `rows` does, of the features that declarations name."""
        names = ", ".join(map(literal, sorted({*product_features, *self.state.spelled})))
        months = [month for month, *_ in self._between(first, last)]
        return _together(self._of("by_feature", months, where=f"feature in ({names})")) if names else None

    def months(self, first: int, last: int) -> str | None:
        """SQL to select from the months that a T on a day in [first, last] reads, without the lists that none needs."""
        unread: dict[tuple[str, ...], list[str]] = {}
        for month, start, end in self._between(first - REACH_DAYS, last):
            old = [name for name, reach in LIST_DAYS.items() if end <= first - reach]
            whole = end <= first and (start >= last - REACH_DAYS or end <= first - REACH_DAYS)
            unread.setdefault(("days", *old, *(AGES if whole else ())), []).append(month)
        queries = []
        for lists, months in unread.items():
            if AGES[0] not in lists:
                queries += self._of("days", months, month_rows.without(lists))
            else:  # what was known in time may end within a month
                queries += self._of("days", months, month_rows.without(lists), "lag = 0")
                queries += self._of("days", months, month_rows.without(set(lists) - set(AGES)), "lag > 0")
        return _together(queries)

    def _between(self, first: int, last: int) -> list[tuple[str, int, int]]:
        """The months that have days in [first, last), and their days."""
        found = ((month, *month_days(month)) for month in sorted(self.state.parts))
        return [(month, start, end) for month, start, end in found if start < last and end > first]

    def _of(self, relation: str, months: Collection[str], columns: str = "*", where: str = "true") -> list[str]:
        """Queries of the rows of some months."""
        whole: list[str] = []
        queries = []
        for month in months:
            files = self._checked(self.state.parts[month].get(relation, ()))
            if month not in self.apart:
                whole += files
            elif files:
                accounts = ", ".join(map(literal, self.apart[month]))
                queries.append(f"select {columns} from {_parquet(files)} where {where} and account_id not in ({accounts})")
        return [*queries, f"select {columns} from {_parquet(whole)} where {where}"] if whole else queries

    def _checked(self, names: Collection[str]) -> list[str]:
        try:
            return checked(self.folder, names)
        except SourceError:
            if last_state(self.folder) == self.state:
                raise
            told = f"{self.folder} was updated after it was read: start again, or take RollupStore.rolled(…) again"
            raise SourceError("rollup_state", told) from None


def _together(queries: Collection[str]) -> str | None:
    return f"({' union all by name '.join(f'({query})' for query in queries)})" if queries else None


def _parquet(files: Collection[str]) -> str:
    return f"read_parquet([{', '.join(map(literal, files))}])"
