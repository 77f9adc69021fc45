"""One database, reached the same way on SQLite and PostgreSQL: its engine, its reads, its writes one after the other."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from serving.store.errors import StoreError, reported
from serving.store.scored_account import to_json

#: Key of the advisory lock under which Kunto writes to PostgreSQL ("kunto" in ASCII).
_WRITER_LOCK = int.from_bytes(b"kunto")
_FORMS = "Give a file, sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE."


class Database:
    """An engine with Kunto's rules: foreign keys hold, writers wait for each other, errors are StoreErrors."""

    def __init__(self, target: str | Path, timeout_s: float):
        url = _url(target)
        #: How the database is named to people.
        self.where = _shown(url)
        self.timeout_s = timeout_s
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            options: dict[str, Any] = {"connect_args": {"timeout": timeout_s}}
        else:
            options = {"connect_args": {"connect_timeout": max(2, round(timeout_s))}, "pool_pre_ping": True}
        try:
            self.engine = create_engine(url, json_serializer=to_json, hide_parameters=True, **options)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, TypeError, ValueError) as error:
            raise StoreError(f"the database URL cannot be used: {error}", self.where, _FORMS) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(writes=True)
        self._watch: sqlite3.Connection | None = None
        self._watching = Lock()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads; it waits for no writer."""
        with reported(self.where), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes, alone among Kunto's writers; committed at its end, rolled back on an error."""
        with reported(self.where), self._writer.begin() as connection:
            if not self.is_sqlite:
                wait = {"wait": f"{self.timeout_s * 1000:.0f}ms"}
                connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), wait)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield connection

    def revision(self) -> int | None:
        """A number that differs once anybody, in any process, has committed a change; None where only a query could tell.

        SQLite keeps it in shared memory: asking takes microseconds, and waits for nobody.
        """
        if self._watch is None:
            return None
        with self._watching, reported(self.where):
            revision: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
            return revision

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def watch(self) -> None:
        """Make `revision` tell: an SQLite file is watched through a connection that never writes."""
        file = self.engine.url.database
        if self.is_sqlite and file and self._watch is None:
            self._watch = sqlite3.connect(file, timeout=self.timeout_s, check_same_thread=False)

    def use_wal(self) -> None:
        """Switch an SQLite file to write-ahead logging, so that readers and the writer do not block each other."""
        if not self.is_sqlite:
            return
        deadline = time.monotonic() + self.timeout_s
        with reported(self.where), self.engine.connect() as connection:
            raw: Any = connection.connection  # the driver's own: the switch is refused inside a transaction
            while True:
                try:
                    if raw.execute("PRAGMA journal_mode").fetchone() == ("delete",):
                        raw.execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.Error as error:
                    # SQLite does not wait for a lock here, whatever the timeout: two processes may open at once
                    if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                        raise DBAPIError("PRAGMA journal_mode = WAL", None, error) from error
                    time.sleep(0.01)


def _url(target: str | Path) -> URL:
    if isinstance(target, Path) or "://" not in target:
        return URL.create("sqlite", database=str(target))
    try:
        url = make_url(target)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise StoreError("the database URL cannot be read", re.sub(r"//.*@", "//***@", target), _FORMS) from error
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"the store knows no {backend!r} databases, only SQLite and PostgreSQL", _shown(url), _FORMS)
    return url


def _shown(url: URL) -> str:
    """Return the file, or the URL without password and options (a password may stand there too)."""
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    return url.set(query={}).render_as_string(hide_password=True)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # without it INSERT OR REPLACE deletes past the triggers
    connection.execute("PRAGMA secure_delete = ON")  # an erased name is overwritten, not only unlinked


def _begin_sqlite(connection: Connection) -> None:
    # the driver alone begins too late, after reads and DDL; and a writer takes its lock at once, because one that
    # reads first and writes later can fail without waiting
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
