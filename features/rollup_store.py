"""Bringing kept rollups up to date: rows of files that are new are counted, once, in the months that they belong to."""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from features import month_rows
from features.contract import TABLES
from features.rolled import Accounts, Rolled
from features.rollup_parts import relations
from features.rollup_state import State, checked, last_state, naming_damage, read_state, sweep, write_state
from features.rollup_update import Notes, Reader, Update, Updated, nothing
from features.sources import SourceError, literal

_CONTRACT = TABLES["usage"]


def parquet_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[str]:  # noqa: ARG001
    """Read a Parquet file whose columns have the contract's names."""
    yield f"read_parquet({literal(str(path))})"


class RollupStore:
    """The rollups of the table `usage` in a folder.

    `mapping`: a text that says how the reader turns source rows into the contract's; another text, another form of a relation
    or another version of DuckDB (whose hashes tell ids apart), and all is rolled up anew. Which features are declared, and the
    product's own ones, changes nothing in what is kept. `notes` are kept with each file (`CountedFile.notes`).
    """

    def __init__(
        self,
        folder: Path,
        read: Reader = parquet_rows,
        *,
        mapping: str = "",
        notes: Notes = lambda path: {},
    ) -> None:
        self.folder, self._read, self._notes = folder, read, notes
        declared = json.dumps([mapping, duckdb.__version__, relations(), month_rows.packed("", 0)])
        self._declared = hashlib.sha256(declared.encode()).hexdigest()[:16]

    def rolled(
        self,
        backend: Any,
        files: Mapping[str, Path] | None = None,
        *,
        among: Callable[[State, str], str] = lambda state, rows: rows,
    ) -> Rolled:
        """What the folder holds, for a builder on this DuckDB backend of Ibis; SourceError where it holds nothing.

        `files`, those of the last update, are what rows behind the partitions are read again from (`Rolled.set_apart`). `among`
        turns SQL of rows that are in no partition into SQL of those that count, before it is decided which of them holds.
        """
        state = read_state(self.folder, self._declared)
        if not state.files:
            raise SourceError("rollup_state", f"{self.folder} holds no rollups of what is declared now: update them first")
        times = {column.name for column in _CONTRACT.columns if column.kind == "time"}
        columns = dict.fromkeys([*state.columns, "recorded_at"])
        cells = ", ".join(f"make_timestamp({name}) as {name}" if name in times else name for name in _CONTRACT.names)
        rows = literal(*checked(self.folder, [state.recurring])) if state.recurring else f"({nothing()})"
        # Of one id and record the earliest event holds, then the least content.
        once = f"row_number() over (partition by event_id, recorded_at order by occurred_at, {', '.join(columns)}) = 1"
        query = f"select {', '.join(columns)} from {among(state, f'(select {cells} from {rows})')} qualify {once}"

        def read_again(accounts: Accounts) -> Any:
            backend.con.register("_read_again", self._rows_of(state, files or {}, accounts))
            backend.con.execute("create or replace temp table read_again as from _read_again")
            backend.con.unregister("_read_again")
            return backend.sql(f"from {among(state, 'read_again')}", dialect="duckdb")

        recurring = backend.sql(query, dialect="duckdb")
        return Rolled(self.folder, state, recurring, None if files is None else read_again)

    def update(self, files: Mapping[str, Path], *, progress: Callable[[int, int], None] = lambda done, total: None) -> Updated:
        """Count the rows of files that are new or have changed; `files`: all of the source's, by name.

        A file of a content that is counted already, and rows that are, change nothing. A file that has changed takes the place of
        what it was. Raises SourceError where a file cannot be read or lacks a required column, or where one that is counted is
        not given any more, and where a file of a partition is gone or damaged; then all stays as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            state = read_state(self.folder, self._declared)
            sweep(self.folder, last_state(self.folder))
            checked(self.folder, sorted(state.listed()))
            with self._reading(state, files) as update:
                found = update.run(progress)
            if update.state() != state:
                write_state(self.folder, replace(update.state(), number=state.number + 1))
            return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One update at a time; another one waits."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _rows_of(self, state: State, files: Mapping[str, Path], accounts: Accounts) -> pa.Table:
        with self._reading(state, files) as reading:
            return reading.rows_of(accounts)

    @contextmanager
    def _reading(self, state: State, files: Mapping[str, Path]) -> Iterator[Update]:
        with naming_damage(self.folder, state):
            update = Update(self.folder, self._read, self._notes, state, files)
            try:
                yield update
            finally:
                update.connection.close()
