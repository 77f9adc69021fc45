"""The table `usage` out of kept rollups: only files that are new are read, and what was found in the others is told again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from features.contract import TABLES
from features.findings import Finding, Report
from features.mapping import Mapping as DataMapping
from features.rolled import Rolled
from features.rollup_state import CountedFile, State, naming_damage
from features.rollup_store import RollupStore
from features.rules import Known, rules_beyond, with_accounts
from features.sources import Folder, literal
from features.usage_files import UsageFiles, beyond_the_row, meaning, together

#: A view: how many rows an account has on a day. Times are the day's first instant; `first_at`, `last_at` are the rows' own.
USAGE_DAYS = "contract_usage_days"
_ALL_DAYS = "usage_days"
_CONTRACT = TABLES["usage"]
_EVER = (-(10**9), 10**9)
_ONE_HOLDS = "make the key unique, or give recorded_at; the earliest event was kept, of equal ones the least"


@dataclass(frozen=True)
class KeptUsage:
    """What is kept of the table `usage`: `rows` that count, and their `newest` instant; `empty` cells among the rows `read`.

    `rolled` stands in the place of the table for a `Builder`, at UTC midnights up to the end of the data.
    """

    rolled: Rolled
    rows: int
    newest: datetime | None
    read: int
    empty: Mapping[str, int]


def why_whole(mapping: DataMapping) -> str | None:
    """Why files of `usage` have to be read whole, in words; None where their rollups can be kept.

    >>> why_whole(DataMapping.from_dict({"data": {"data_until": datetime(2026, 2, 1, 12)}}))
    'data_until is 2026-02-01 12:00:00, and kept rollups answer midnights (UTC)'
    """
    until = mapping.data.data_until
    if until is None or until != datetime(until.year, until.month, until.day):
        return f"data_until is {until}, and kept rollups answer midnights (UTC)"
    beyond = beyond_the_row(mapping.table("usage"))
    return None if beyond is None else f"{beyond}, so that what a row means may hang on others"


def keep_usage(
    folder: Path, mapping: DataMapping, sources: Folder, origin: str, connection: Any, known: Known, report: Report
) -> KeptUsage:
    """Bring the rollups in a folder up to date with the files of `origin`, and report what the rules found in all of them.

    `connection`: an Ibis DuckDB backend with `contract_accounts`, if those are `known`. Raises SourceError where a file, or what
    is kept, cannot be read, or where a file that is counted is gone; then what is kept stays as it was.
    """
    reader = UsageFiles(sources.path, mapping.table("usage"))
    store = RollupStore(
        folder,
        reader,
        mapping=meaning(mapping.table("usage"), origin),
        notes=reader.notes,
    )
    files = reader.named(origin)
    store.update(files)
    rolled = store.rolled(connection, files=files, among=lambda state, rows: _counting(state, rows, origin, known))
    counted = {name: file for name, file in rolled.state.files.items() if file.same_as is None}
    _report_files(rolled.state, counted, report)
    with naming_damage(rolled.folder, rolled.state):
        _report_duplicates(rolled, counted, connection, report)
        rows, newest = _days(rolled, origin, known, connection, report)
    columns = [name for name in rolled.state.columns if name in next(iter(counted.values())).notes["empty"]]
    empty = {name: sum(file.notes["empty"][name] for file in counted.values()) for name in columns}
    return KeptUsage(rolled, rows, newest, sum(file.rows for file in counted.values()), empty)


def _counting(state: State, rows: str, origin: str, known: Known) -> str:
    """SQL of those recurring rows that the loader would not refuse, each with its record: which of them holds hangs on that."""
    recorded = "coalesce(recorded_at, occurred_at)" if "recorded_at" in state.columns else "recorded_at"
    dated = f"(select * replace ({recorded} as recorded_at) from {rows})"
    refused = " or ".join(f"coalesce({rule.condition}, false)" for rule in rules_beyond(_CONTRACT, state.columns, origin, known))
    joined = with_accounts(dated) if known.accounts else f"{dated} s"
    return f"(select s.* from {joined} where not ({refused or 'false'}))"


def _report_files(state: State, counted: Mapping[str, CountedFile], report: Report) -> None:
    """Tell again what was found in each file when it was read."""
    read = [(name, Report([Finding(**found) for found in file.notes["findings"]])) for name, file in sorted(counted.items())]
    report.findings += together([each for each in read if counted[each[0]].notes["rows"]]).findings
    names = {file.digest: name for name, file in counted.items() if file.notes["rows"]}
    copies = {name: names[file.digest] for name, file in sorted(state.files.items()) if file.same_as in names}
    if copies:
        name, original = next(iter(copies.items()))
        rows = sum(counted[of].rows for of in copies.values())
        report.add(
            "warning",
            _CONTRACT.name,
            None,
            "file_delivered_twice",
            rows,
            f"{name} holds what {original} does" + (f", and {len(copies) - 1} more" if len(copies) > 1 else ""),
            "delete the copies; their rows count once",
        )
    total = sum(file.notes["rows"] for file in counted.values())
    if total == 0:
        told = "the files give no rows: export them again, look at the filter, or leave them out"
        report.add("warning", _CONTRACT.name, None, "empty_table", 0, None, told)
    elif not any(file.rows for file in counted.values()):
        told = "every row was refused: see the findings above on this table"
        report.add("warning", _CONTRACT.name, None, "no_row_left", total, None, told)


def _report_duplicates(rolled: Rolled, counted: Mapping[str, CountedFile], connection: Any, report: Report) -> None:
    """Count the rows that were there already, and those whose id and record another content has."""
    placed = connection.con.execute(f"select coalesce(sum(rows), 0)::bigint from {_placed(rolled)}").fetchone()[0]
    records = contents = 0
    example = None
    if rolled.state.recurring is not None:
        columns = ", ".join(_CONTRACT.names)
        recorded = "coalesce(recorded_at, occurred_at)" if "recorded_at" in rolled.state.columns else "recorded_at"
        each = f"select distinct {columns} from {literal(str(rolled.folder / rolled.state.recurring))}"
        groups = f"select event_id, {recorded} as record, count(*) as n from ({each}) group by all"
        found = connection.con.execute(
            f"select count(*), sum(n)::bigint, min(event_id) filter (n > 1) from ({groups})"
        ).fetchone()
        records, contents, example = found
    copies = sum(file.rows for file in counted.values()) - placed - contents
    for rule, rows, told, advice in (
        ("duplicate_row", copies, None, "the copies were left out"),
        ("duplicate_key", contents - records, f"event_id = {example}", _ONE_HOLDS),
    ):
        if rows:
            report.add("warning", _CONTRACT.name, "event_id", rule, rows, told, advice)


def _placed(rolled: Rolled) -> str:
    """SQL of how many rows of the partitions each account has on a day; `known` is the day on which they were, if another."""
    columns = {"account_id": "varchar", **dict.fromkeys(("day", "known", "rows", "first_at", "last_at"), "bigint")}
    nothing = ", ".join(f"null::{kind} as {name}" for name, kind in columns.items())
    return rolled.rows("rows", *_EVER) or f"(select {nothing} limit 0)"


def _days(rolled: Rolled, origin: str, known: Known, connection: Any, report: Report) -> tuple[int, datetime | None]:
    """Make the view of rows by account and day, without those that the data's end or the accounts refuse, which are reported.

    Returns how many rows count, and the instant of the newest.
    """
    day = "make_timestamp({0} * 86400000000)"
    events = connection.compile(rolled.recurring)
    recorded = "coalesce(recorded_at, occurred_at)"
    connection.con.execute(
        f"create or replace temp view {_ALL_DAYS} as select account_id, {day.format('day')} as occurred_at, "
        f"{day.format('coalesce(known, day)')} as recorded_at, rows, make_timestamp(first_at) as first_at, "
        f"make_timestamp(last_at) as last_at from {_placed(rolled)} union all by name "
        f"select account_id, date_trunc('day', occurred_at) as occurred_at, date_trunc('day', {recorded}) as recorded_at, "
        f"count(*) as rows, min(occurred_at) as first_at, max(occurred_at) as last_at from ({events}) group by all"
    )
    rules = list(rules_beyond(_CONTRACT, rolled.state.columns, origin, known))
    joined = with_accounts(_ALL_DAYS) if known.accounts else f"{_ALL_DAYS} s"
    for rule in rules:
        query = f"select coalesce(sum(rows), 0)::bigint, min(s.account_id) from {joined} where {rule.condition}"
        rows, account = connection.con.execute(query).fetchone()
        if rows:
            example = f"account_id = {account}"
            report.add("warning", _CONTRACT.name, rule.column, rule.name, rows, example, rule.what_to_do)
    refused = " or ".join(f"coalesce({rule.condition}, false)" for rule in rules)
    connection.con.execute(
        f"create or replace temp view {USAGE_DAYS} as select s.* from {joined} where not ({refused or 'false'})"
    )
    rows, newest = connection.con.execute(f"select coalesce(sum(rows), 0)::bigint, max(last_at) from {USAGE_DAYS}").fetchone()
    return int(rows), newest
