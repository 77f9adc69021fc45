"""The files of kept rollups: each relation of each month, written aside and added up again when they have become many."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import ibis

from features import month_rows, rollup
from features.catalogue.usage import named
from features.contract import IBIS_TYPES, TABLES
from features.rollup_state import RELATIONS, Parts, flush, month_days
from features.sources import SourceError, literal

#: A month with more files of a relation than this is written anew as one.
_MOST_FILES = 12
#: Rows in one group of a Parquet file: what is read to find one account. Ids are looked for in all groups.
_GROUP_ROWS = {"days": 1_024, "ids": 122_880}
_OTHER_GROUP_ROWS = 16_384
_DAYS = ("known_at", "superseded_at", "clock", "day", "known", "until", "first")
_ORDER = {"days": ("account_id", "lag"), "ids": ("account_id", "id"), "rows": ("account_id", "day")}
_TOO_LARGE = "sums of quantity or of value of one account do not fit: correct what is too large, or leave it out by `where`"
_ROWS = (
    "select account_id, day, known, {rows} as rows, {first} as first_at, {last} as last_at from {placed} "
    "group by account_id, day, known"
)


@dataclass
class PartWriter:
    """Writes files of one update into a folder; `parts` is what the months hold so far, `spelled` as in `State`.

    The connection has a table or view `placed`, the events that a file is made of, on their days, with the month's `first`.
    """

    folder: Path
    connection: duckdb.DuckDBPyConnection
    number: int
    parts: dict[str, Parts]
    spelled: set[str]
    _written: int = field(default=0)

    def add(self, month: str) -> None:
        """Roll the `placed` events up into a further file of each relation."""
        for relation, query in relations().items():
            self._write(month, relation, query, self.parts.get(month, {}).get(relation, ()))

    def rewrite(self, month: str, keep: str) -> None:
        """Write a month as one file for each relation: its rows for which `keep` is true, and the `placed` events."""
        made = relations()
        for relation, files in list(self.parts.get(month, {}).items()):
            self._write(month, relation, f"{self._kept(relation, files, keep)} union all by name {made[relation]}", ())

    def compact(self) -> None:
        """Write anew what has become many files."""
        for month, there in list(self.parts.items()):
            for relation, files in there.items():
                if len(files) > _MOST_FILES:
                    self._write(month, relation, self._kept(relation, files, "true"), ())

    def counted_ids(self) -> str:
        """SQL of the hashes of all ids that the months hold: id, month."""
        queries = ["select 0::ubigint as id, '' as month limit 0"]
        for month, there in self.parts.items():
            queries.append(f"select id, {literal(month)} as month from {self._read(there['ids'])}")
        return " union all ".join(f"({query})" for query in queries)

    def copy(self, query: str, stem: str) -> str:
        """Write the rows of a query to a new file; return its name."""
        self._written += 1
        name = f"{stem}-{self.number:06d}-{self._written:04d}.parquet"
        (self.folder / name).parent.mkdir(exist_ok=True)
        to = literal(str(self.folder / name))
        group = _GROUP_ROWS.get(Path(stem).name, _OTHER_GROUP_ROWS)
        try:
            self.connection.execute(f"copy ({query}) to {to} (format parquet, compression lz4_raw, row_group_size {group})")
        except duckdb.ConversionException:
            raise SourceError("sum_too_large", f"{stem}: {_TOO_LARGE}") from None
        flush(self.folder / name)
        flush((self.folder / name).parent)
        return name

    def _write(self, month: str, relation: str, query: str, beside: tuple[str, ...]) -> None:
        order = ", ".join(_ORDER.get(relation) or rollup.KEYS[relation])
        rows = query
        if relation == "days":
            rows = month_rows.packed(query, month_days(month)[0])
        elif relation == "by_feature":
            rows = f"(select * replace (quantity::bigint as quantity) from ({query}))"
            self.spelled |= self._spelled(rows)
        name = self.copy(f"from ({rows}) order by {order}", f"{month}/{relation}")
        self.parts[month] = {**self.parts.get(month, {}), relation: (*beside, name)}

    def _spelled(self, rows: str) -> set[str]:
        """The features among the rows that the catalogue names."""
        events = ibis.table({"feature": "string"}, name="events")
        query = f"select distinct feature from ({ibis.duckdb.compile(events.filter(named(())(events)))})"
        return {name for (name,) in self.connection.execute(f"with events as {rows} {query}").fetchall()}

    def _kept(self, relation: str, files: tuple[str, ...], keep: str) -> str:
        rows = f"select * from {self._read(files)} where {keep}"
        if relation == "days":
            rows = f"from {month_rows.unpacked(f'({rows})')}"
        if relation == "ids":
            return rows
        if relation == "rows":
            return f"({_ROWS.format(rows='sum(rows)::bigint', first='min(first_at)', last='max(last_at)', placed=f'({rows})')})"
        schema = _expressions()[relation].schema()
        merged = ibis.duckdb.compile(rollup.merged(relation, ibis.table(schema, name="kept")))
        return f"(with kept as ({rows}) {merged})"

    def _read(self, files: tuple[str, ...]) -> str:
        return f"read_parquet([{', '.join(literal(str(self.folder / name)) for name in files)}])"


@lru_cache(maxsize=1)
def relations() -> dict[str, str]:
    """SQL of each relation of a partition over `placed`."""
    found = {name: str(ibis.duckdb.compile(expr)) for name, expr in _expressions().items()}
    found["ids"] = "select account_id, hash(event_id) as id from placed where event_id is not null"
    found["rows"] = _ROWS.format(rows="count(*)", first="min(occurred_at)", last="max(occurred_at)", placed="placed")
    return {name: found[name] for name in RELATIONS}


@lru_cache(maxsize=1)
def _expressions() -> dict[str, Any]:
    columns = TABLES["usage"].columns
    schema = {column.name: "int64" if column.kind == "time" else IBIS_TYPES[column.kind] for column in columns}
    placed = ibis.table(schema | dict.fromkeys(_DAYS, "int64"), name="placed")
    return rollup.relations(placed, TABLES["usage"].names, lambda rows: rows.feature.notnull(), first="first")
