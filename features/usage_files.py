"""The files of the table `usage`, each read as the loader reads a table: by the mapping, and by the rules on single rows."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from features import casting, contract, rules, sources, staging
from features.contract import TABLES
from features.findings import Finding, Report
from features.mapping import TableMapping
from features.sources import ROW, Folder, Raw, SourceError, is_parquet
from features.staging import Staged, stage

_CONTRACT = TABLES["usage"]
#: Rows of a Parquet file that are read at once: bounds memory.
_PART_ROWS = 5_000_000
#: Code that says what a source row means; where it changes, all rows are read anew.
_CODE = (casting, contract, rules, sources, staging)
#: Words of SQL whose value is not the row's alone.
_NOT_OF_THE_ROW = re.compile(
    rf"\b(over|select|from|{ROW}|rowid|now|today|random|uuid|gen_random_uuid|current_\w+|get_current_\w+|transaction_timestamp)\b",
    re.IGNORECASE,
)


def beyond_the_row(mapping: TableMapping) -> str | None:
    """Name what in the mapping of a table reads more than the row itself; None where nothing does.

    >>> beyond_the_row(TableMapping.model_validate({"where": "n > (select avg(n) from t)"}))
    "tables.usage.where has 'select'"
    >>> beyond_the_row(TableMapping(where="n > 0")) is None
    True
    """
    texts = {"where": mapping.where} | {f"columns.{name}.sql": column.sql for name, column in mapping.columns.items()}
    for key, text in texts.items():
        found = _NOT_OF_THE_ROW.search(text or "")
        if found:
            return f"tables.usage.{key} has {found.group()!r}"
    through = next((f"{name} comes through {column.through}" for name, column in mapping.columns.items() if column.through), None)
    return f"tables.usage.columns.{through}" if through else None


def meaning(mapping: TableMapping, origin: str) -> str:
    """A text that changes with whatever decides what a row of the source means."""
    code = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in _CODE)).hexdigest()
    return f"{origin}\n{mapping.model_dump_json()}\n{code}"


class UsageFiles:
    """Reads the files of `usage` in a folder for `features.rollup_store.RollupStore`, and notes what it found in each.

    Notes: `findings` of the rules, as records; `rows` read, and `empty` cells of each optional column among those that stay.
    """

    def __init__(self, folder: Path, mapping: TableMapping) -> None:
        self._folder, self._mapping = folder, mapping
        self._notes: dict[Path, dict[str, Any]] = {}

    def named(self, origin: str) -> dict[str, Path]:
        """The files behind a source table's name or pattern, by their names in the folder; SourceError where there is none."""
        paths = Folder(self._folder, duckdb.connect()).files(origin)
        return {path.relative_to(self._folder).as_posix(): path for path in paths}

    def notes(self, path: Path) -> Mapping[str, Any]:
        """What was found in a file that was read to its end."""
        return self._notes[path]

    def __call__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[str]:
        """Yield SQL of the rows that stay, in parts; SourceError where the file cannot be read or lacks a required column."""
        connection.execute("set timezone = 'UTC'")
        folder = Folder(self._folder, connection)
        raw = folder.open(path.relative_to(self._folder).as_posix())
        reports: list[tuple[str, Report]] = []
        rows, empty = 0, dict.fromkeys(_optional(_CONTRACT.names), 0)
        for part in _parts(connection, raw, path):
            report = Report()
            if not reports:
                for odd in raw.oddities:
                    report.add("warning", _CONTRACT.name, None, odd.rule, odd.rows, odd.example, odd.what_to_do)
            staged = self._staged(connection, part, folder, report)
            rows += staged.rows
            for column, count in _empty(connection, staged).items():
                empty[column] += count
            reports.append((raw.name, report))
            yield staged.name
        folder.close()
        found = [asdict(finding) for finding in together(reports).findings]
        self._notes[path] = {"rows": rows, "empty": empty, "findings": found}

    def _staged(self, connection: duckdb.DuckDBPyConnection, raw: Raw, folder: Folder, report: Report) -> Staged:
        staged = stage(connection, _CONTRACT, self._mapping, raw, folder, {}, report)
        for fault in report.fatal:
            raise SourceError(fault.rule, f"{fault.example}: {fault.what_to_do}")
        if staged.rows:
            rules.apply_to_rows(connection, staged, rules.Known(accounts=False, subscriptions=False, data_until=None), report)
        return staged


def _parts(connection: duckdb.DuckDBPyConnection, raw: Raw, path: Path) -> Iterator[Raw]:
    """A large Parquet file in runs of its rows; text is in memory already."""
    counted = connection.execute(f"select count(*) from {raw.relation}").fetchone() if is_parquet(path) else None
    rows = int(counted[0]) if counted else 0
    if rows <= _PART_ROWS:
        yield raw
        return
    for first in range(0, rows, _PART_ROWS):
        yield replace(raw, relation=f"(select * from {raw.relation} where {ROW} > {first} and {ROW} <= {first + _PART_ROWS})")


def _optional(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _CONTRACT.column(name).required and name != "recorded_at"]


def _empty(connection: duckdb.DuckDBPyConnection, staged: Staged) -> dict[str, int]:
    """Empty cells of the optional columns among the rows that stay; all of a column that the file lacks."""
    optional = _optional(_CONTRACT.names)
    cells = [f"count(*) - count({name})" if staged.has(name) else "count(*)" for name in optional]
    found = connection.execute(f"select {', '.join(cells)} from {staged.name}").fetchone()
    return dict(zip(optional, found or (), strict=True))


def together(reports: Sequence[tuple[str, Report]]) -> Report:
    """Add the findings of several files up: one finding for each rule and column, with the first file's example.

    A fault that would stop the job stops it only where every file has it.

    >>> one, other = Report(), Report()
    >>> one.add("fatal", "usage", "feature", "missing_value", 2, "row 1", "fill it in")
    >>> other.add("warning", "usage", "feature", "missing_value", 3, "row 4", "fill it in")
    >>> [(found.severity, found.rows, found.example) for found in together([("a.csv", one), ("b.csv", other)]).findings]
    [('warning', 5, 'a.csv, row 1')]
    """
    several = len({name for name, _ in reports}) > 1
    found: dict[tuple[str | None, str], Finding] = {}
    fatal: dict[tuple[str | None, str], int] = {}
    for name, report in reports:
        for finding in report.findings:
            key = (finding.column, finding.rule)
            before = found.get(key)
            fatal[key] = fatal.get(key, 0) + (finding.severity == "fatal")
            example = f"{name}, {finding.example}" if several and name not in str(finding.example) else finding.example
            found[key] = replace(before, rows=before.rows + finding.rows) if before else replace(finding, example=example)
    for key, finding in found.items():
        if fatal[key]:
            found[key] = replace(finding, severity="fatal" if fatal[key] == len(reports) else "warning")
    return Report(list(found.values()))
