"""Rollups kept in a folder: partitioned by month, brought up to date with the files that are new, and never half written.

Every file of a partition is written once and never changed. What the folder holds is what `state.json` lists: an update writes
its files beside the others, then puts a new `state.json` in the place of the old one, so that a crash at any moment leaves the
last good state. Files that no state lists are swept away by the next update.

Rows of one partition need not be unique: they are added up again when they are read (features/windows.py), so new rows, late
ones among them, only add a small file to the month that they belong to. Events that recur (versions of one another, or the same
id with other content) are in no partition: their rows are kept as they came, with the digest of their file, and which of them
holds is decided when they are read, and at T.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from features.contract import TABLES
from features.rollup import KEYS
from features.sources import SourceError, literal

#: Relations of a partition: the rolled-up ones, the hashes of the ids of the events in it, and how many rows an account has on a
#: day, which no feature reads: a check of the data does.
RELATIONS = (*KEYS, "ids", "rows")
#: Faults of what is kept, or of its files: a look at all rows of the files that are there does not find them.
KEPT_FAULTS = frozenset({"rollup_state", "rollup_partition", "missing_file"})
_FORMAT = 3
#: How files of partitions are called, and what a Parquet file begins and ends with.
_NUMBERED = "*-??????-????.parquet"
_MAGIC = b"PAR1"
#: The files of one month, by relation.
Parts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class CountedFile:
    """A source file whose rows are counted: how it was recognised, and which months it has rows of.

    `notes`: what its reader noted about it, as JSON holds it.
    """

    size: int
    modified: int
    digest: str
    rows: int
    columns: tuple[str, ...]
    months: tuple[str, ...]
    same_as: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What the folder holds: `parts` by month and relation, names of files; `number` of the update that made it.

    `declared` is a digest of all that a partition depends on beside the rows: the forms of relations, and the mapping. `spelled`:
    the features that the catalogue names, as events spell them.
    """

    declared: str
    number: int = 0
    files: Mapping[str, CountedFile] = field(default_factory=dict)
    parts: Mapping[str, Parts] = field(default_factory=dict)
    recurring: str | None = None
    spelled: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A digest of what is counted and how: equal fingerprints, equal rollups."""
        counted = sorted((file.digest, file.rows) for file in self.files.values() if file.same_as is None)
        return hashlib.sha256(json.dumps([self.declared, counted]).encode()).hexdigest()[:16]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the contract that any of the files has."""
        there = {name for file in self.files.values() for name in file.columns}
        return tuple(name for name in TABLES["usage"].names if name in there)

    def listed(self) -> set[str]:
        """The names of all files of this state, relative to the folder."""
        parts = {name for relations in self.parts.values() for names in relations.values() for name in names}
        return parts | ({self.recurring} if self.recurring else set())

    def as_json(self) -> str:
        """The state as text; `read_state` reads it."""
        files = {name: vars(file) for name, file in sorted(self.files.items())}
        parts = {month: dict(relations) for month, relations in sorted(self.parts.items())}
        return json.dumps(vars(self) | {"format": _FORMAT, "files": files, "parts": parts}, indent=1)


def read_state(folder: Path, declared: str) -> State:
    """Return the state that a folder holds; an empty one where there is none, or where something else was declared then."""
    state = last_state(folder)
    # The files of an update bear its number: the next one writes over none that is there.
    return state if state.declared == declared else State(declared, state.number)


def last_state(folder: Path) -> State:
    """Return the last state of a folder, whatever was declared then; SourceError where it cannot be read."""
    path = folder / "state.json"
    if not path.exists():
        return State("")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != _FORMAT:
            return State("", int(found["number"]))
        files = {name: CountedFile(**_tuples(file)) for name, file in found["files"].items()}
        parts = {month: {name: tuple(names) for name, names in relations.items()} for month, relations in found["parts"].items()}
        return State(**(_tuples(found) | {"files": files, "parts": parts}))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError("rollup_state", f"{path} cannot be read: {error}; delete {folder}, and all is rolled up anew") from None


def _tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def write_state(folder: Path, state: State) -> None:
    """Put the state in the place of the last one, at once and for good; then sweep away what it does not list."""
    aside = folder / "state.json.new"
    with aside.open("w", encoding="utf-8") as file:
        file.write(state.as_json())
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / "state.json")
    flush(folder)
    sweep(folder, state)


def flush(path: Path) -> None:
    """Have a file's content, or a folder's names, outlast a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, state: State) -> None:
    """Delete files of partitions that the state does not list: what a crash, or a later update, left behind."""
    listed = state.listed()
    for path in [*folder.glob(f"*/{_NUMBERED}"), *folder.glob(_NUMBERED)]:
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()


def checked(folder: Path, names: Iterable[str]) -> list[str]:
    """The paths of these files of partitions; SourceError where one is gone or is not whole."""
    paths = [folder / name for name in names]
    for path in paths:
        try:
            with path.open("rb") as file:
                start, size = file.read(len(_MAGIC)), file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 8))
                end = file.read()
            footer = int.from_bytes(end[:4], "little")
            fault = None if start == end[4:] == _MAGIC and footer + 12 <= size else "is damaged"
        except OSError:
            fault = "is gone"
        if fault:
            raise _broken(path, fault, folder)
    return [str(path) for path in paths]


@contextmanager
def naming_damage(folder: Path, state: State) -> Iterator[None]:
    """Have an engine's error name the file of the state that cannot be read to its end; it stays as it is where all can."""
    try:
        yield
    except duckdb.Error as error:
        with duckdb.connect() as connection:
            for path in checked(folder, sorted(state.listed())):
                try:
                    connection.execute(f"select sum(hash(columns(*))) from read_parquet({literal(path)})").fetchall()
                except duckdb.Error:
                    raise _broken(path, "is damaged", folder) from error
        raise


def _broken(path: Path | str, fault: str, folder: Path) -> SourceError:
    return SourceError("rollup_partition", f"{path} {fault}; delete {folder}, and all is rolled up anew")


def month_days(month: str) -> tuple[int, int]:
    """The first day of a month and the first of the next, in days since 1970.

    >>> month_days("1970-02")
    (31, 59)
    """
    year, number = map(int, month.rsplit("-", 1))
    since = 12 * (year - 1970) + number - 1
    first, last = np.array([since, since + 1], "datetime64[M]").astype("datetime64[D]").astype(int)
    return int(first), int(last)
