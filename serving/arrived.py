"""Events that arrived, as further rows of a company's tables on the same DuckDB connection."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import ibis
import pyarrow as pa

from features import casting
from features.contract import IBIS_TYPES, TABLES, Column
from features.rolled import Rolled
from serving.events import EVENT_TABLES
from serving.store import Store
from serving.store.instants import utc
from serving.store.intake import Intake
from serving.store.intake_records import ArrivedEvent

_FIELDS = {"event_id": "string", "account_id": "string", "recorded_at": "timestamp[us]", "payload": "string"}


def with_events(tables: Mapping[str, Any], store: Store, as_of: datetime | None = None) -> dict[str, Any]:
    """Return the tables of a loaded source with the store's events among their rows, those recorded before `as_of` (naive UTC).

    Each has its `recorded_at`, and only the columns that the source or some event brings. A row of the source without one counts
    as recorded when it happened. An event that names a row of the source by its key is a later version of it, so what comes both
    ways needs a key in both: usage without `event_id` in the source would count twice.

    `tables` are DuckDB's, as `features.loader.load` makes them; use them, and those returned, from one thread at a time.
    """
    arrived = ArrivedEvents(next(iter(tables.values())).get_backend(), store.intake)
    arrived.refresh()
    return arrived.among(tables, as_of)


class ArrivedEvents:
    """A copy of the store's events on a DuckDB connection, in the contract's types; `refresh` brings it up to date."""

    def __init__(self, connection: Any, intake: Intake) -> None:
        self._connection, self._intake = connection, intake
        self._number, self._erasures = 0, 0
        #: table → column → when the first value of it was recorded: columns that no event had brought by T are not there at T.
        self._brought: dict[str, dict[str, datetime]] = {}
        for name in EVENT_TABLES:
            columns = ", ".join(f"{column.name} {_sql_type(column)}" for column in TABLES[name].columns)
            connection.con.execute(f"create or replace table {_table(name)} ({columns})")

    def refresh(self) -> None:
        """Read what has arrived since the last time; all of it where something was erased."""
        state = self._intake.state()
        if state.erasures != self._erasures:
            for name in EVENT_TABLES:
                self._connection.con.execute(f"delete from {_table(name)}")
            self._number, self._erasures, self._brought = 0, state.erasures, {}
        if state.last_number == self._number:
            return
        for rows in self._intake.arrived(self._number):
            for name in EVENT_TABLES:
                self._append(name, [row for row in rows if row.table == name])
            self._number = rows[-1].event_number

    def _append(self, name: str, rows: list[ArrivedEvent]) -> None:
        if not rows:
            return
        connection, columns = self._connection.con, TABLES[name].columns
        cells = {
            field: pa.array([getattr(row, field) for row in rows], pa.type_for_alias(kind)) for field, kind in _FIELDS.items()
        }
        connection.register("_arriving", pa.table(cells))
        values = ", ".join(f"{_value(column)} as {column.name}" for column in columns)
        connection.execute(f"create or replace temp table _arrived as select {values} from _arriving")
        connection.unregister("_arriving")
        connection.execute(f"insert into {_table(name)} select * from _arrived")
        firsts = ", ".join(f"min(recorded_at) filter ({column.name} is not null)" for column in columns)
        found = connection.execute(f"select {firsts} from _arrived").fetchone()
        connection.execute("drop table _arrived")
        brought = self._brought.setdefault(name, {})
        for column, first in zip(columns, found, strict=True):
            if first is not None:
                brought.setdefault(column.name, first)

    def among(self, tables: Mapping[str, Any], as_of: datetime | None = None) -> dict[str, Any]:
        """Return the tables with the events recorded before `as_of` (None: all of them) among their rows."""
        merged, as_of = dict(tables), None if as_of is None else utc(as_of)
        for name, brought in self._brought.items():
            columns = {column for column, first in brought.items() if as_of is None or first < as_of}
            if columns:
                arrived = self._connection.table(_table(name))
                arrived = arrived if as_of is None else arrived.filter(arrived.recorded_at < as_of)
                source = tables.get(name)
                if isinstance(source, Rolled):
                    source = source.set_apart(arrived)
                    rows = _union(name, source.recurring, arrived, columns)
                    merged[name] = replace(source, recurring=rows, arrived=arrived.select(*sorted(columns)))
                else:
                    merged[name] = _union(name, source, arrived, columns)
        return merged


def _table(name: str) -> str:
    return f"arrived_{name}"


def _sql_type(column: Column) -> str:
    return {"text": "varchar", "time": "timestamp", "integer": "bigint"}.get(column.kind, IBIS_TYPES[column.kind])


def _value(column: Column) -> str:
    """Return SQL for a column of an event: out of the payload, by the loader's own rule, where it is not kept beside it."""
    if column.name in _FIELDS:
        return column.name
    return casting.value(f"json_extract_string(payload, '$.{column.name}')", "VARCHAR", column.kind, "iso")


def _union(name: str, source: Any, arrived: Any, brought: set[str]) -> Any:
    """Return the rows of both, in the columns that either brings, in the contract's order and types."""
    there = set(source.columns) if source is not None else set()
    columns = [column for column in TABLES[name].columns if column.name in there | brought]
    rows = arrived.select(*(column.name for column in columns))
    if source is None:
        return rows
    typed = {column.name: _cell(source, column, there) for column in columns}
    return source.select(**typed).union(rows, distinct=False)


def _cell(source: Any, column: Column, there: set[str]) -> Any:
    kind = IBIS_TYPES[column.kind]
    return source[column.name].cast(kind) if column.name in there else ibis.null(kind)
