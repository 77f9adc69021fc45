"""What the store says when the database does not: in one sentence what, where and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError

_GRANT = "Give this user permission to write the database (for a file: its folder too), or name another database."
_WAIT = "Wait until the other process has ended, then try again."
_FREE = "Free some space, then try again; what was written before is whole."

#: SQLite result code (the start of its name) → what, next step.
_SQLITE = {
    "SQLITE_BUSY": ("the database is locked by another process", _WAIT),
    "SQLITE_LOCKED": ("the database is locked by another process", _WAIT),
    "SQLITE_READONLY": ("the database is read-only", _GRANT),
    "SQLITE_PERM": ("the database may not be opened", _GRANT),
    "SQLITE_CANTOPEN": ("the database file cannot be opened", "Create its folder, or give this user permission to it."),
    "SQLITE_NOTADB": ("the file is not an SQLite database", "Name another file, or move this one away."),
    "SQLITE_CORRUPT": ("the database file is damaged", "Restore it from a backup."),
    "SQLITE_FULL": ("the disk is full", _FREE),
}
#: PostgreSQL SQLSTATE (its start) → what, next step.
_POSTGRESQL = {
    "55P03": ("the database is locked by another process", _WAIT),
    "25006": ("the database is read-only", "Name the primary server: this one takes no writes."),
    "42501": ("the database refuses this user", "Grant this user CREATE, SELECT, INSERT and UPDATE on its schema."),
    "53100": ("the disk is full", _FREE),
}
_UNREACHABLE = "Check that the server runs, and the host, port, database, user and password of the URL."


class StoreError(Exception):
    """The store could not do it; the message says what, where, and what to do next, without a password."""

    def __init__(self, what: str, where: str, next_step: str):
        super().__init__(f"{what} ({where}). {next_step}")
        self.what, self.next_step = what, next_step

    @property
    def told(self) -> str:
        """The message without the database's place, for those who ask over the network."""
        return f"{self.what}. {self.next_step}"


class UnknownAccountError(StoreError):
    """No account of this id is known to the store: never saved, or erased."""

    def __init__(self, account_id: str, where: str):
        super().__init__(
            f"account {account_id!r} is not in the store", where, "Check the id; an account is known once it was scored."
        )


class UnknownRecordError(StoreError):
    """What was asked for by its id is not there: a play, a webhook, a key …"""


class ConflictError(StoreError):
    """The change rests on a state that no longer holds, or would double what may be there once."""


@contextmanager
def reported(where: str) -> Iterator[None]:
    """Turn every error of the database driver into a StoreError; the original stays its cause."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(*_told(error, where)) from error


def _told(error: DBAPIError, where: str) -> tuple[str, str, str]:
    sqlite_code = getattr(error.orig, "sqlite_errorname", None) or ""
    sql_state = getattr(error.orig, "sqlstate", None) or ""
    for code, known in ((sqlite_code, _SQLITE), (sql_state, _POSTGRESQL)):
        for start, (what, next_step) in known.items():
            if code.startswith(start):
                return what, where, next_step
    reason = " ".join(str(error.orig).split())
    refused_to_connect = isinstance(error, OperationalError) and not (sqlite_code or sql_state)
    if refused_to_connect or error.connection_invalidated or sql_state.startswith("08"):
        return f"the database cannot be reached: {reason}", where, _UNREACHABLE
    return f"the database refused: {reason}", where, "Nothing was changed; correct the cause, then try again."
