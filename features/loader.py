"""From a company's own tables to the contract's: `load` maps, types and cleans them on one DuckDB connection.

What does not fit is refused or counted on the way (features/rules.py); `features.check.check` completes the findings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis

from features.contract import REQUIRED_TABLES, TABLES, Table
from features.findings import Report, Severity
from features.kept_usage import USAGE_DAYS, KeptUsage, keep_usage, why_whole
from features.mapping import Mapping
from features.rules import Known, apply
from features.sources import Folder, SourceError, Sources, is_url, open_sources
from features.staging import Staged, find_table, stage

_DAY = timedelta(days=1)
#: Contracts are agreed ahead: beside other tables, a bare date of theirs does not say that its whole day is in the data.
_AGREED_AHEAD = ("accounts", "subscriptions")
_NO_EVENTS = ("fx",)


@dataclass(frozen=True)
class Source:
    """A company's tables, cleaned: what every later step reads.

    `tables`: contract name → Ibis table with exactly the contract columns that the source has, in the contract's
    order: timestamps naive UTC in microseconds, decimals `contract.DECIMAL_TYPE`, integers int64, the rest strings and
    booleans; accounts.created_at, surveys.sent_at and usage.quantity are always there. `report`: what loading found.
    `kept_usage`: set where `usage` comes out of kept rollups; `tables["usage"]` is then its `rolled`. `usage_read_whole`: why it
    does not, though that was asked for.
    """

    tables: dict[str, Any]
    report: Report
    mapping: Mapping
    base: Path
    connection: Any
    origins: dict[str, str] = field(default_factory=dict)
    kept_usage: KeptUsage | None = None
    usage_read_whole: str | None = None

    @property
    def data_until(self) -> datetime | None:
        """End of the data (exclusive), as the mapping says; None is a fatal finding."""
        return self.mapping.data.data_until

    @property
    def usage_in_files(self) -> bool:
        """Whether `usage` comes from files by a pattern: one alone is written anew each time, and read whole in less time."""
        return "*" in self.origins.get("usage", "") and not is_url(self.mapping.data.source)

    @property
    def currencies(self) -> list[str]:
        """Currencies that subscriptions and invoices name, sorted."""
        found: set[str] = set()
        for name in ("subscriptions", "invoices"):
            if name in self.tables and "currency" in self.tables[name].columns:
                query = f"select distinct currency from contract_{name} where currency is not null"
                found |= {row[0] for row in self.connection.con.execute(query).fetchall()}
        return sorted(found)

    @property
    def reporting_currency(self) -> str | None:
        """Currency of the reports: the mapping's, or else the only one there is."""
        currencies = self.currencies
        return self.mapping.data.reporting_currency or (currencies[0] if len(currencies) == 1 else None)


def load(mapping: Mapping, *, base: Path, connection: Any = None, keep: Path | None = None) -> Source:
    """Load every table that the mapping or its own name gives, and refuse the rows that break the contract.

    Args:
        mapping: the `[data]`, `[tables]` and `[checks]` of kunto.toml.
        base: the folder that relative paths start from (kunto.toml's own).
        connection: an Ibis DuckDB backend; a new one in memory where None. Its time zone is set to UTC.
        keep: a folder where rollups of `usage` are kept: only files that are new are then read, where that gives the same
            features at midnights (UTC). None: it is read whole.

    Returns:
        The cleaned tables; where `report.fatal` is not empty, some are missing and nothing should be computed.
    """
    connection = connection if connection is not None else ibis.duckdb.connect()
    connection.con.execute("set timezone = 'UTC'")
    source = Source({}, Report(), mapping, base, connection)
    try:
        sources = open_sources(mapping.data.source, base, connection.con)
    except SourceError as error:
        source.report.add("fatal", "", None, error.rule, 0, None, str(error))
        return source
    try:
        return _load_tables(source, sources, keep)
    finally:
        sources.close()


def _load_tables(source: Source, sources: Sources, keep: Path | None) -> Source:
    report, mapping = source.report, source.mapping
    ignored = set(mapping.data.ignore)
    for name in TABLES:
        origin = mapping.table(name).from_ or find_table(sources, name)
        if origin is not None and (name in mapping.tables or origin not in ignored):
            source.origins[name] = origin
    for name in REQUIRED_TABLES:
        if name not in source.origins:
            there = ", ".join(sources.names()) or "no table"
            advice = f"say in tables.{name}.from which source table holds the {name}; there: {there}"
            report.add("fatal", name, None, "missing_table", 0, None, advice)
    staged: dict[str, Staged] = {}
    if not source.usage_in_files:
        keep = None
    if keep is not None and (whole := why_whole(mapping)):
        source, keep = replace(source, usage_read_whole=whole), None
    for name in TABLES:
        if name == "usage" and name in source.origins and keep is not None and isinstance(sources, Folder):
            source = _with_kept_usage(source, sources, keep, accounts="accounts" in staged)
        elif name in source.origins:
            one = _load_table(source, sources, TABLES[name], staged)
            if one is not None:
                staged[name] = one
        if name == "subscriptions":
            _fill_created_at(source, staged)
    for name in TABLES:
        if name in staged:
            one = staged[name]
            columns = [column for column in TABLES[name].names if one.has(column) or (name, column) == ("accounts", "created_at")]
            source.tables[name] = source.connection.table(f"contract_{name}").select(*columns)
        elif name == "usage" and source.kept_usage is not None:
            source.tables[name] = source.kept_usage.rolled
    _note_the_rest(source, sources, staged)
    if mapping.data.data_until is None:
        advice = "write the end of the data (exclusive) under [data]"
        latest = latest_time(source)
        example = f"data_until = {latest.isoformat()}" if latest else None
        report.add("fatal", "", "data_until", "missing_data_until", 0, example, advice)
    return source


def _with_kept_usage(source: Source, sources: Folder, keep: Path, *, accounts: bool) -> Source:
    """Bring the rollups of `usage` up to date; without the table where it cannot be used."""
    known = Known(accounts, subscriptions=False, data_until=source.data_until)
    origin, report = source.origins["usage"], source.report
    try:
        kept = keep_usage(keep, source.mapping, sources, origin, source.connection, known, report)
    except SourceError as error:
        _report_unread(report, "usage", origin, error)
        return source
    if any(finding.table == "usage" for finding in report.fatal):
        return source
    return replace(source, kept_usage=kept)


def _report_unread(report: Report, name: str, origin: str, error: SourceError) -> None:
    softly = error.rule in ("missing_table", "empty_file") and name not in REQUIRED_TABLES
    report.add("warning" if softly else "fatal", name, None, error.rule, 0, origin, str(error))


def _load_table(source: Source, sources: Sources, table: Table, staged: dict[str, Staged]) -> Staged | None:
    """Stage one table and apply the rules to its rows; None where it cannot be used."""
    report, name = source.report, table.name
    connection = source.connection.con
    before = len(report.fatal)
    try:
        raw = sources.open(source.origins[name])
        read_before = [source.origins[other] for other in staged]
        for odd in raw.oddities if raw.name not in read_before else ():
            report.add("warning", name, None, odd.rule, odd.rows, odd.example, odd.what_to_do)
        one = stage(connection, table, source.mapping.table(name), raw, sources, source.origins, report)
    except SourceError as error:
        _report_unread(report, name, source.origins[name], error)
        return None
    if len(report.fatal) > before:
        return None
    severity: Severity = "fatal" if name in REQUIRED_TABLES else "warning"
    if one.rows == 0:
        report.add(
            severity,
            name,
            None,
            "empty_table",
            0,
            raw.name,
            f"{raw.name} gives no rows: export it again, look at the filter, or leave it out",
        )
    if name == "accounts" and not one.has("created_at"):
        connection.execute("alter table contract_accounts add column created_at timestamp")
    own = "subscriptions" in staged and staged["subscriptions"].has("subscription_id")
    left = apply(connection, one, Known("accounts" in staged, own, source.data_until), report)
    if one.rows and not left:
        advice = "every row was refused: see the findings above on this table"
        report.add(severity, name, None, "no_row_left", one.rows, None, advice)
    return one


def _fill_created_at(source: Source, staged: dict[str, Staged]) -> None:
    """An account without a sign-up date begins with its first subscription (domain.md §2)."""
    if {"accounts", "subscriptions"} <= staged.keys():
        source.connection.con.execute(
            "update contract_accounts as s set created_at = f.first from (select account_id, min(started_at) as first "
            "from contract_subscriptions group by account_id) f where f.account_id = s.account_id and s.created_at is null"
        )


def _note_the_rest(source: Source, sources: Sources, staged: dict[str, Staged]) -> None:
    """Name what is not connected, and the source columns and tables that nothing reads."""
    report = source.report
    missing = [name for name in TABLES if name not in source.origins]
    if missing:
        report.add("note", "", None, "not_connected", 0, ", ".join(missing), "connect them to raise the scores' coverage")
    flags = source.mapping.checks.churn_flags
    flagged = [flag.from_ for flag in flags]
    unused = _without(sources.names(), [*source.origins.values(), *source.mapping.data.ignore, *flagged])
    if unused and "*" not in "".join(source.origins.values()):
        report.add("note", "", None, "unused_tables", 0, ", ".join(unused), "map them in [tables], or list them in data.ignore")
    for name, one in staged.items():
        # A file may feed two tables: what either reads is used, and the note stands with the first.
        same = [other for other in staged if staged[other].raw.name == one.raw.name]
        if same[0] != name:
            continue
        used = [flag.flag or "" for flag in flags if flag.from_ == one.raw.name]
        expressions = ""
        for other in same:
            mapping = source.mapping.table(other)
            used += [cell.rule.from_ or "" for cell in staged[other].cells] + list(mapping.ignore)
            expressions += " ".join([mapping.where or "", *(cell.rule.sql or "" for cell in staged[other].cells)])
        left = [column for column in _without(one.raw.types, used) if column not in expressions]
        if left:
            report.add("note", name, None, "unused_columns", 0, ", ".join(left), "map them, or list them in ignore")


def _without(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    there = {name.lower() for name in taken}
    return [name for name in names if name.lower() not in there]


def latest_time(source: Source) -> datetime | None:
    """Return the data_until to propose: the latest event or recorded time, up to the next midnight (exclusive).

    Where all times of a column are dates, the last date counts as a whole day; contracts are agreed ahead, so beside
    other tables theirs do not. Never ended_at, renewal_at, due_at or valid_to (domain.md §2).
    """
    ends = []
    ahead = _AGREED_AHEAD if source.tables.keys() - {*_AGREED_AHEAD, *_NO_EVENTS} else ()
    for name, table in source.tables.items():
        for column in {TABLES[name].event, "recorded_at"} & set(table.columns):
            if name in _NO_EVENTS:
                continue
            latest, timed = source.connection.con.execute(_latest(source, name, column)).fetchone()
            if latest is not None:
                midnight = latest.replace(hour=0, minute=0, second=0, microsecond=0)
                whole_day = latest > midnight or (not timed and name not in ahead)
                ends.append(midnight + _DAY if whole_day else midnight)
    return max(ends, default=None)


def _latest(source: Source, name: str, column: str) -> str:
    """SQL of the latest instant of a column, and how many rows, or days of rows, have another than their midnight."""
    if name == "usage" and source.kept_usage is not None:
        latest = "last_at" if column == TABLES[name].event else column
        return f"select max({latest}), count(*) filter ({latest} <> occurred_at) from {USAGE_DAYS}"
    return f"select max({column}), count(*) filter ({column} <> date_trunc('day', {column})) from contract_{name}"
