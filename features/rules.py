"""The contract's rules on single rows: one scan of a staged table counts them all, then rows and values go.

A rule's effect says what happens: `refuse` leaves the row out, `clear` makes the value null, `lift` moves the later of
two times to the earlier one, `count` changes nothing. Nothing goes without being counted.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb

from features.contract import Column, Table
from features.findings import Report, Severity
from features.sources import ROW, quote
from features.staging import Staged

Effect = Literal["refuse", "clear", "lift", "count"]

#: A negative price or seat count would make a row count as something else, so its row goes, not only the value.
_REFUSED_OUT_OF_BOUNDS = {("subscriptions", "mrr"), ("subscriptions", "seats")}
#: These speak of a customer: before its sign-up they belong to no time in which it was one.
_NEEDS_CUSTOMER = ("tickets", "surveys", "invoices")
#: A survey's scale by its kind, where scale_max does not say otherwise (domain.md §2).
_SCALES = "case s.kind when 'nps' then 10 when 'csat' then 5 when 'ces' then 7 end"


@dataclass(frozen=True)
class Rule:
    """One rule: `condition` is SQL over the staged row `s`, its account `a` and its own subscription `b`."""

    name: str
    column: str | None
    condition: str
    effect: Effect
    what_to_do: str


@dataclass(frozen=True)
class Known:
    """What rows are checked against: whether accounts and subscriptions are loaded, and the end of the data."""

    accounts: bool
    subscriptions: bool
    data_until: datetime | None


def apply(connection: duckdb.DuckDBPyConnection, staged: Staged, known: Known, report: Report) -> int:
    """Take every rule on the rows, then leave duplicates out; return the rows that stay."""
    if staged.rows == 0:
        return 0
    apply_to_rows(connection, staged, known, report)
    _drop_duplicates(connection, staged, report)
    left = connection.execute(f"select count(*) from {staged.name}").fetchone()
    return int(left[0]) if left else 0


def apply_to_rows(connection: duckdb.DuckDBPyConnection, staged: Staged, known: Known, report: Report) -> None:
    """Count every rule in one scan, report those that fired, and take their effect; duplicates stay."""
    rules = list(row_rules(staged, known))
    relation = _relation(staged, known)
    counts = ", ".join(f"count(*) filter ({r.condition}), min(s.{ROW}) filter ({r.condition})" for r in rules)
    found = connection.execute(f"select {counts} from {relation}").fetchone() if rules else None
    fired = [(rule, found[2 * index], found[2 * index + 1]) for index, rule in enumerate(rules) if found and found[2 * index]]
    for rule, rows, first in fired:
        severity: Severity = "warning"
        if rows == staged.rows and rule.effect == "refuse" and rule.name in ("unreadable_value", "missing_value"):
            severity = "fatal"
        example = _example(connection, staged, rule, first)
        report.add(severity, staged.table.name, rule.column, rule.name, rows, example, rule.what_to_do)
    _take_effect(connection, staged, relation, [rule for rule, _, _ in fired])


def row_rules(staged: Staged, known: Known) -> Iterator[Rule]:
    """Yield the rules that hold for a staged table."""
    table = staged.table
    for cell in staged.cells:
        yield from _column_rules(staged, cell.column)
    if staged.has("sent_at") and table.name == "surveys":
        yield Rule("missing_value", "sent_at", "s.sent_at is null", "refuse", "give sent_at or responded_at; row left out")
    if table.name == "surveys" and staged.has("score"):
        top = f"coalesce(s.scale_max, {_SCALES})" if staged.has("scale_max") else _SCALES
        yield Rule("off_scale", "score", f"s.score > {top}", "refuse", "correct kind, or give scale_max; row left out")
    for later, earlier in table.not_before:
        if staged.has(later, earlier):
            refuse = table.name == "subscriptions"
            advice = "row left out" if refuse else f"{later} was set to {earlier}"
            yield Rule(
                "ends_before_start",
                later,
                f"s.{later} < s.{earlier}",
                "refuse" if refuse else "lift",
                f"{later} lies before {earlier}: correct one of them; {advice}",
            )
    yield from rules_beyond(table, staged.columns, staged.raw.name, known)
    if known.accounts and table.name in _NEEDS_CUSTOMER and staged.has(table.event):
        advice = "check both dates; rows are kept, and read from their own time on"
        yield Rule("before_signup", table.event, f"s.{table.event} < a.created_at", "count", advice)
    if known.subscriptions and staged.through("subscriptions") and staged.has(table.event):
        advice = "check the key or the dates; rows are kept as the account's use, whatever its subscription"
        yield Rule("before_its_subscription", table.event, f"s.{table.event} < b.started_at", "count", advice)


def rules_beyond(table: Table, columns: Collection[str], origin: str, known: Known) -> Iterator[Rule]:
    """Yield the rules that refuse rows by more than the rows themselves: the end of the data, and the accounts there are.

    `columns`: those of the contract that the source has; `origin`: what it is called.
    """
    if known.data_until is not None:
        advice = f"data_until is {known.data_until.isoformat()}: move it, or nothing; such rows are never read"
        for column in dict.fromkeys((table.event, "recorded_at")):
            if column in columns:
                condition = f"s.{column} >= timestamp '{known.data_until}'"
                yield Rule("past_data_until", column, condition, "refuse", advice)
    if known.accounts and table.name != "accounts" and "account_id" in columns:
        advice = f"add the account to accounts, or correct account_id in {origin}; rows left out"
        yield Rule("unknown_account", "account_id", "s.account_id is not null and a.account_id is null", "refuse", advice)


def _column_rules(staged: Staged, column: Column) -> Iterator[Rule]:
    name, table = column.name, staged.table.name
    unread, value = staged.bit("_unread", name), f"s.{name}"
    effect: Effect = "refuse" if column.required else "count"
    cell = next(cell for cell in staged.cells if cell.column is column)
    gone = "rows left out" if column.required else "values taken as missing"
    if cell.key is not None:
        advice = f"add the key to {cell.rule.through}, or correct it here; {gone}"
        yield Rule("unknown_key", name, unread, effect, advice)
    elif column.kind != "text" or column.default is not None:
        yield Rule("unreadable_value", name, unread, effect, f"not a {column.kind}: correct it, or say how it is written; {gone}")
    if column.required:
        yield Rule("missing_value", name, f"{value} is null and not ({unread})", "refuse", "fill it in; rows left out")
    if cell.rule.values:
        unmapped = staged.bit("_unmapped", name)
        yield Rule("unmapped_value", name, unmapped, "count", f"add it to tables.{table}.columns.{name}.values; kept as it is")
    bounds = [f"{value} < {column.low}"] if column.low is not None else []
    bounds += [f"{value} > {column.high}"] if column.high is not None else []
    if bounds:
        refuse = column.required or (table, name) in _REFUSED_OUT_OF_BOUNDS
        span = f"{column.low if column.low is not None else '…'} to {column.high if column.high is not None else '…'}"
        gone = "rows left out" if refuse else "values taken as missing"
        rule_name = "negative_value" if column.low == 0 and column.high is None else "out_of_bounds"
        yield Rule(
            rule_name, name, " or ".join(bounds), "refuse" if refuse else "clear", f"allowed is {span}; correct it; {gone}"
        )
    if column.allowed:
        allowed = ", ".join(f"'{item}'" for item in column.allowed)
        advice = f"known are {', '.join(column.allowed)}: map it with values; rows are kept"
        yield Rule("unknown_value", name, f"{value} not in ({allowed})", "count", advice)


def with_accounts(relation: str) -> str:
    """Return SQL of a relation's rows `s`, each beside its account `a`, null where there is none."""
    accounts = "select account_id, min(created_at) as created_at from contract_accounts group by all"
    return f"{relation} s left join ({accounts}) a on a.account_id = s.account_id"


def _relation(staged: Staged, known: Known) -> str:
    joined = known.accounts and staged.table.name != "accounts" and staged.has("account_id")
    relation = with_accounts(staged.name) if joined else f"{staged.name} s"
    if known.subscriptions and staged.through("subscriptions"):
        own = "select subscription_id, min(started_at) as started_at from contract_subscriptions group by all"
        relation += f" left join ({own}) b on b.subscription_id = s._key"
    return relation


def _example(connection: duckdb.DuckDBPyConnection, staged: Staged, rule: Rule, row: int) -> str:
    """Name a row by its number and key, with the value as it stands in the source."""
    shown = [name for name in staged.table.key if staged.has(name) and name != rule.column][:2]
    cell = next((cell for cell in staged.cells if cell.column.name == rule.column), None)
    query = f"select {', '.join(['1', *shown])} from {staged.name} where {ROW} = {row}"
    keys = (connection.execute(query).fetchone() or ())[1:]
    told = ", ".join(f"{name}={value}" for name, value in zip(shown, keys, strict=True))
    origin = cell.rule.from_ if cell is not None else None
    if cell is not None and origin is not None and origin in staged.raw.types:
        query = f"select cast({quote(origin)} as varchar) from {staged.raw.relation} where {ROW} = {row}"
        column = origin
    else:
        column = str(rule.column)
        query = f"select cast({column} as varchar) from {staged.name} where {ROW} = {row}"
    value = (connection.execute(query).fetchone() or (None,))[0]
    return f"row {row}" + (f" ({told})" if told else "") + f": {column} = {'(empty)' if value is None else repr(value)}"


def _take_effect(connection: duckdb.DuckDBPyConnection, staged: Staged, relation: str, fired: list[Rule]) -> None:
    refused = [f"({rule.condition})" for rule in fired if rule.effect == "refuse"]
    if refused:
        rows = f"select s.{ROW} from {relation} where {' or '.join(refused)}"
        connection.execute(f"delete from {staged.name} where {ROW} in ({rows})")
    earlier = dict(staged.table.not_before)
    for rule in fired:
        if rule.effect in ("clear", "lift"):
            value = "null" if rule.effect == "clear" else earlier[str(rule.column)]
            connection.execute(f"update {staged.name} as s set {rule.column} = {value} where {rule.condition}")


def _drop_duplicates(connection: duckdb.DuckDBPyConnection, staged: Staged, report: Report) -> None:
    """Keep one row for each key and recorded_at: the earliest event, then the least content, in whatever order they came."""
    key = [name for name in staged.table.key if staged.has(name)]
    if not key:
        return
    there = " or ".join(f"{name} is not null" for name in key)
    by = ", ".join([*key, *(["recorded_at"] if staged.has("recorded_at") else [])])
    content = ", ".join(staged.columns)
    groups = (
        f"select {by}, count(*) as n, count(distinct hash({content})) as versions, min({ROW}) as first, max({ROW}) as last "
        f"from {staged.name} where {there} group by all having count(*) > 1"
    )
    connection.execute(f"create or replace temp table _same as {groups}")
    for exact in (True, False):
        where = "versions = 1" if exact else "versions > 1"
        query = f"select coalesce(sum(n - 1), 0)::bigint, arg_min(({by}), first), min(first), arg_min(last, first) from _same"
        found = connection.execute(f"{query} where {where}").fetchone()
        if found and found[0]:
            values = ", ".join(map(str, found[1] if isinstance(found[1], tuple) else [found[1]]))
            rule = "duplicate_row" if exact else "duplicate_key"
            advice = (
                "the copies were left out"
                if exact
                else ("make the key unique, or give recorded_at; the earliest event was kept, of equal ones the least")
            )
            example = f"rows {found[2]} and {found[3]}: {by} = {values}"
            report.add("warning", staged.table.name, key[0] if len(key) == 1 else None, rule, found[0], example, advice)
    order = ", ".join(([staged.table.event] if staged.has(staged.table.event) else []) + [content, ROW])
    same = " and ".join(f"s.{name} is not distinct from d.{name}" for name in by.split(", "))
    connection.execute(
        f"delete from {staged.name} where {ROW} in (select {ROW} from (select s.{ROW}, row_number() over "
        f"(partition by {', '.join('s.' + name for name in by.split(', '))} order by "
        f"{', '.join('s.' + name for name in order.split(', '))}) as place from {staged.name} s join _same d on {same}) "
        "where place > 1)"
    )
    connection.execute("drop table _same")
