"""From a raw source table to a typed DuckDB table: the mapping of one contract table, applied in one query."""

from dataclasses import dataclass, replace

import duckdb

from features import casting
from features.contract import Column, Table
from features.findings import Report
from features.mapping import ColumnMapping, TableMapping
from features.sources import ROW, Raw, SourceError, Sources, quote, stem

_DAY_END = "date_trunc('day', {0}) + interval 1 day - interval 1 microsecond"


@dataclass(frozen=True)
class Cell:
    """One contract column of a staged table and where its cells come from."""

    column: Column
    rule: ColumnMapping
    sql: str
    type: str
    key: str | None = None


@dataclass(frozen=True)
class Staged:
    """A typed table in DuckDB: the contract columns that the source has, `_row`, `_unread`, `_unmapped` and `_key`.

    Bit i of `_unread` tells that cell i could not be read, bit i of `_unmapped` that its value is in no value map;
    `_key` is the other table's key where account_id comes through one.
    """

    table: Table
    name: str
    raw: Raw
    cells: tuple[Cell, ...]
    rows: int

    @property
    def columns(self) -> list[str]:
        """Names of the contract columns present, in the contract's order."""
        return [cell.column.name for cell in self.cells]

    def has(self, *columns: str) -> bool:
        """Tell whether all these columns are present."""
        return set(columns) <= set(self.columns)

    def bit(self, mask: str, column: str) -> str:
        """Return an SQL condition: the column's bit is set in `_unread` or `_unmapped`."""
        return f"s.{mask} & {1 << self.columns.index(column)} <> 0"

    def through(self, table: str) -> str | None:
        """Return the source column of `table` by whose key account_id comes here; None where it does not."""
        rule = next((cell.rule for cell in self.cells if cell.column.name == "account_id"), None)
        return (rule.key or rule.from_) if rule is not None and rule.through == table else None


def find_table(sources: Sources, name: str) -> str | None:
    """Return the source table called like a contract table, whatever its ending; None where there is none."""
    for candidate in sources.names():
        if stem(candidate) == name:
            return candidate
    return None


def find_column(raw: Raw, name: str) -> str | None:
    """Return the source's spelling of a column: exactly so, or else with other capitals; None where it has none."""
    if name in raw.types:
        return name
    return next((there for there in raw.types if there.lower() == name.lower()), None)


def stage(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    mapping: TableMapping,
    raw: Raw,
    sources: Sources,
    origins: dict[str, str],
    report: Report,
) -> Staged:
    """Write the mapped table `contract_<name>` and return it; what is missing goes to the report.

    `origins` gives the source table of each contract table, for keys that go through another one.

    Raises:
        SourceError: the filter or an SQL expression does not work.
    """
    joins: list[str] = []
    cells = []
    for column in table.columns:
        cell = _cell(connection, column, table, mapping, raw, sources, origins, joins, report)
        if cell is not None:
            cells.append(cell)
    cells = _with_sent_at(table, cells)
    where = f" where ({mapping.where})" if mapping.where else ""
    query = _query(table, mapping, cells, f"(select * from {raw.relation}{where}) r {' '.join(joins)}")
    name = f"contract_{table.name}"
    try:
        connection.execute(f"create or replace table {name} as {query}")
    except duckdb.Error as error:
        message = f"tables.{table.name} cannot be read: {str(error).splitlines()[0]}; correct where or sql in the mapping"
        raise SourceError("bad_sql", message) from None
    rows = _one(connection, f"select count(*) from {name}")
    if mapping.where:
        left_out = _one(connection, f"select count(*) from {raw.relation}") - rows
        if left_out:
            told = f"where = {mapping.where}"
            report.add("note", table.name, None, "filtered", left_out, told, "nothing: the mapping says so")
    return Staged(table, name, raw, tuple(cells), rows)


def _with_sent_at(table: Table, cells: list[Cell]) -> list[Cell]:
    """Return the cells with sent_at read from responded_at where a source of surveys has only the latter."""
    by_name = {cell.column.name: cell for cell in cells}
    if table.event != "sent_at" or "sent_at" in by_name or "responded_at" not in by_name:
        return cells
    by_name["sent_at"] = replace(by_name["responded_at"], column=table.column("sent_at"))
    return [by_name[name] for name in table.names if name in by_name]


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _cell(
    connection: duckdb.DuckDBPyConnection,
    column: Column,
    table: Table,
    mapping: TableMapping,
    raw: Raw,
    sources: Sources,
    origins: dict[str, str],
    joins: list[str],
    report: Report,
) -> Cell | None:
    """Return how a contract column is read, None where the source does not have it."""
    rule = mapping.columns.get(column.name)
    if rule is None:
        found = None if column.name in mapping.ignore else find_column(raw, column.name)
        if found is None and column.default is not None:
            rule = ColumnMapping(constant=column.default)
        elif found is not None:
            rule = ColumnMapping(from_=found)
    asked = rule.from_ if rule is not None else column.name
    if rule is not None and rule.constant is not None:
        return Cell(column, rule, casting.constant(rule.constant), "VARCHAR")
    if rule is not None and rule.sql is not None:
        return Cell(column, rule, f"({rule.sql})", _sql_type(connection, rule.sql, table.name, column.name, raw))
    source = find_column(raw, asked) if rule is not None and asked is not None else None
    if rule is None or source is None:
        if column.required or rule is not None:
            there = ", ".join(raw.types)
            advice = f"name its source column in tables.{table.name}.columns.{column.name}; {raw.name} has {there}"
            severity = "fatal" if column.required else "warning"
            report.add(severity, table.name, column.name, "missing_column", 0, f"{asked} is not in {raw.name}", advice)  # type: ignore[arg-type]
        return None
    cell = f"r.{quote(source)}"
    if rule.through is None:
        return Cell(column, rule, cell, raw.types[source])
    key = casting.as_text(cell, raw.types[source])
    alias = f"l{len(joins)}"
    joins.append(f"left join {_lookup(connection, column, table, rule, sources, origins, report)} {alias} on {alias}.k = {key}")
    return Cell(column, rule, f"{alias}.v", "VARCHAR", key)


def _sql_type(connection: duckdb.DuckDBPyConnection, sql: str, table: str, column: str, raw: Raw) -> str:
    try:
        described = connection.execute(f"describe select ({sql}) from {raw.relation}").fetchone()
    except duckdb.Error as error:
        message = f"tables.{table}.columns.{column}.sql does not work: {str(error).splitlines()[0]}; correct it"
        raise SourceError("bad_sql", message) from None
    return str(described[1]) if described else "VARCHAR"


def _lookup(
    connection: duckdb.DuckDBPyConnection,
    column: Column,
    table: Table,
    rule: ColumnMapping,
    sources: Sources,
    origins: dict[str, str],
    report: Report,
) -> str:
    """Return a subquery of (k, v): each key of the other table with its value, the least where there are several."""
    other = sources.open(origins.get(str(rule.through), str(rule.through)))
    key, value = find_column(other, rule.key or str(rule.from_)), find_column(other, rule.value or column.name)
    if key is None or value is None:
        asked = (rule.key or rule.from_) if key is None else (rule.value or column.name)
        raise SourceError("missing_column", f"{other.name} has no column {asked}; it has {', '.join(other.types)}")
    k, v = (casting.as_text(quote(name), other.types[name]) for name in (key, value))
    lookup = f"select {k} as k, min({v}) as v, count(distinct {v}) as n from {other.relation} group by all"
    row = connection.execute(f"select count(*), min(k) from ({lookup}) where n > 1").fetchone()
    if row and row[0]:
        advice = f"make {key} in {other.name} lead to one {value}; the least was taken"
        report.add("warning", table.name, column.name, "ambiguous_key", row[0], f"{key} = {row[1]!r}", advice)
    return f"({lookup})"


def _query(table: Table, mapping: TableMapping, cells: list[Cell], relation: str) -> str:
    """Return the query that reads every cell once, in the contract's types, with the masks of what went wrong."""
    inner, outer, unread, unmapped = [f"r.{ROW}"], [ROW], [], []
    for index, cell in enumerate(cells):
        raw, kind, rule = f"c{index}", cell.column.kind, cell.rule
        sql, source_type = cell.sql, cell.type
        if rule.values:
            text = casting.as_text(sql, source_type)
            unmapped.append(f"case when {casting.unmapped(raw + 'o', rule.values)} then {1 << index} else 0 end")
            inner.append(f"{text} as {raw}o")
            sql, source_type = casting.recoded(text, rule.values), "VARCHAR"
        inner.append(f"{sql} as {raw}")
        value = _value(cell, raw, source_type, mapping)
        there = casting.present(raw, source_type, kind)
        if rule.scale is not None:
            there = casting.present(raw, "VARCHAR", kind)
        if cell.key is not None:
            inner.append(f"{cell.key} as k{index}")
            there = f"k{index} is not null"
        if there is not None and rule.constant is None:
            unread.append(f"case when {there} and {value} is null then {1 << index} else 0 end")
        if cell.column.default is not None:
            missing = f"not ({there})" if there is not None else "true"
            value = f"case when {value} is null and {missing} then {cell.column.default!r} else {value} end"
        outer.append(f"{value} as {cell.column.name}")
    account = next((i for i, cell in enumerate(cells) if cell.column.name == "account_id" and cell.key), None)
    if account is not None:
        outer.append(f"k{account} as _key")
    outer += [f"({' + '.join(unread) or '0'})::bigint as _unread", f"({' + '.join(unmapped) or '0'})::bigint as _unmapped"]
    query = f"select {', '.join(outer)} from (select {', '.join(inner)} from {relation})"
    names = [cell.column.name for cell in cells]
    for late, early in (("recorded_at", table.event), ("sent_at", "responded_at")):
        if late in names and early in names and (late == "recorded_at" or table.event == late):
            query = f"select * replace (coalesce({late}, {early}) as {late}) from ({query})"
    return query


def _value(cell: Cell, raw: str, source_type: str, mapping: TableMapping) -> str:
    kind, rule = cell.column.kind, cell.rule
    dates = rule.dates or ("iso" if rule.constant is not None else mapping.dates)
    comma = mapping.decimal_comma and rule.constant is None
    if rule.scale is not None and kind in ("integer", "decimal"):
        number = casting.value(raw, source_type, "decimal", dates, decimal_comma=comma)
        scaled = f"round(cast({number} as double) * {rule.scale!r}, 6)"
        return casting.value(f"({scaled})", "DOUBLE", kind, dates)
    value = casting.value(raw, source_type, kind, dates, decimal_comma=comma)
    if cell.column.allowed:
        return f"lower({value})"
    if mapping.grain == "day" and cell.column.name == "occurred_at":
        return _DAY_END.format(value)
    return value
