"""A company's tables on demand: its source, loaded once, with the events that arrived a moment ago among its rows."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from features.findings import Finding
from features.loader import Source, load
from features.mapping import Mapping, MappingError, read_mapping
from features.sources import CSV_SUFFIXES, is_url
from serving.arrived import ArrivedEvents, with_events
from serving.store import Store

__all__ = ["CompanyError", "CompanyTables", "with_events"]

_CONFIG = "kunto.toml"
#: A database server does not say that it has changed: its tables are loaded anew when they are older than this.
_SERVER_SECONDS = 3600
Stamp = tuple[tuple[str, int, int], ...]


class CompanyError(Exception):
    """The source cannot be used as it is; the message names every fatal finding."""


class CompanyTables:
    """The source's tables with the store's events among them, loaded on first use and anew when a file of theirs changes.

    DuckDB through Ibis does not stand two threads on one connection, and a table is only computed when it is asked for rows. So
    `with company.tables(as_of) as tables` holds a lock: take the rows inside the block, and let no table out of it.
    A source that has become unusable changes nothing: what was loaded before serves on, and `problem` says why.

    `base` is the folder of kunto.toml; where that file changes, the mapping is read from it again.
    """

    def __init__(self, mapping: Mapping, base: Path, store: Store) -> None:
        self._lock = threading.RLock()
        #: Why the present source could not be loaded; None where it could.
        self.problem: str | None = None
        self._mapping, self._base, self._store = mapping, base, store
        self._config = _stamp([base / _CONFIG])
        self._stamp: Stamp | None = None
        self._source: Source | None = None
        self._arrived: ArrivedEvents | None = None

    @contextmanager
    def tables(self, as_of: datetime | None = None) -> Iterator[dict[str, Any]]:
        """Give the block contract name → Ibis table, with the events recorded before `as_of` (naive UTC; None: all so far).

        Pass the instant that is computed, so that neither rows, nor columns, nor tables are there that came later. Raises
        CompanyError where there is no usable source.
        """
        with self._lock:
            source, arrived = self._current()
            arrived.refresh()
            yield arrived.among(source.tables, as_of)

    @property
    def reporting_currency(self) -> str | None:
        """Currency of the reports: the mapping's, or else the only one there is. Raises CompanyError."""
        with self._lock:
            return self._current()[0].reporting_currency

    @property
    def data_until(self) -> datetime | None:
        """End of the source's data (exclusive), as kunto.toml says."""
        with self._lock:
            self._read_mapping()
            return self._mapping.data.data_until

    @property
    def last_event(self) -> datetime | None:
        """When the last event arrived (naive UTC); None before the first."""
        return self._store.intake.state().last_recorded_at

    def data_age(self, now: datetime) -> float | None:
        """Return seconds since the end of the data or the last event, whichever is newer; None where there is neither."""
        known = [instant for instant in (self.data_until, self.last_event) if instant is not None]
        return max(0.0, (now - max(known)).total_seconds()) if known else None

    @property
    def fingerprint(self) -> str:
        """A short digest of what the tables are made of: the files' times and sizes, the mapping, the last event."""
        with self._lock:
            self._read_mapping()
            parts = (self._sources(), self._mapping.model_dump_json(), self._store.intake.state())
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def _current(self) -> tuple[Source, ArrivedEvents]:
        self._read_mapping()
        stamp = self._sources()  # before loading: what changes meanwhile is loaded the next time
        if stamp != self._stamp or self._source is None or self._arrived is None:
            source = load(self._mapping, base=self._base)
            self._stamp = stamp
            if source.report.fatal:
                self.problem = "the data cannot be used:\n  " + "\n  ".join(map(told, source.report.fatal))
            else:
                self.problem = None
                self._source, self._arrived = source, ArrivedEvents(source.connection, self._store.intake)
        if self._source is None or self._arrived is None:
            raise CompanyError(f"{self.problem}\n`kunto check` shows the whole list")
        return self._source, self._arrived

    def _read_mapping(self) -> None:
        config = _stamp([self._base / _CONFIG])
        if config == self._config:
            return
        self._config = config
        try:
            self._mapping = read_mapping(self._base / _CONFIG)
        except MappingError as error:
            self.problem = str(error)
        else:
            self._stamp = None

    def _sources(self) -> Stamp:
        """Return what tells that the source has changed."""
        source = os.path.expandvars(self._mapping.data.source)
        if not is_url(source):
            return _stamp(self._files(self._base / source))
        url = sa.make_url(source)
        if url.get_backend_name() == "sqlite" and url.database:
            path = self._base / url.database
            return _stamp([path, path.with_name(f"{path.name}-wal")])
        return (("server", int(time.monotonic() // _SERVER_SECONDS), 0),)

    def _files(self, folder: Path) -> list[Path]:
        """Return the files that the loader looks at: the folder's own tables, and those that the mapping names."""
        there = folder.iterdir() if folder.is_dir() else ()
        files = {path for path in there if path.suffix.lower() in (*CSV_SUFFIXES, ".parquet")}
        for table in self._mapping.tables.values():
            if table.from_:
                files |= set(folder.glob(table.from_)) if "*" in table.from_ else {folder / table.from_}
        return sorted(files)


def _stamp(paths: list[Path]) -> Stamp:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


def told(finding: Finding) -> str:
    """Return a finding as one line."""
    return ": ".join(part for part in (finding.place, finding.rule, finding.example, finding.what_to_do) if part)
