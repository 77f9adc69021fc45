"""The contract checks that need more than one row or table; with the findings of the load they are `kunto check`."""

from typing import Any

from features.contract import TABLES
from features.findings import Report
from features.kept_usage import USAGE_DAYS
from features.loader import Source, latest_time
from features.mapping import FlagMapping
from features.sources import SourceError, Sources, literal, open_sources, quote
from features.staging import find_column

#: A column with fewer values than this is worth a word.
_FILLED = 0.8
_STALE_DAYS = 31


def check(source: Source) -> Report:
    """Return every finding on a loaded source: those of the load, and those across rows and tables.

    Findings are facts about the data at hand; the same source gives the same report, and it may be asked for again.
    """
    report = Report(list(source.report.findings))
    if {"accounts", "subscriptions"} <= source.tables.keys():
        _without_subscription(source, report)
        _currencies(source, report)
        _data_until(source, report)
        _reactivations(source, report)
        _usage_outside(source, report)
        _churn_flags(source, report)
    _missing_values(source, report)
    _changing_columns(source, report)
    return report


def _row(source: Source, query: str) -> tuple[Any, ...]:
    return tuple(source.connection.con.execute(query).fetchone() or ())


def _periods(source: Source, *, paid: bool) -> str:
    """Return a query of (account_id, start, stop, number): time without a gap in which rows of an account run."""
    where = "(ended_at is null or ended_at > started_at)" if "ended_at" in source.tables["subscriptions"].columns else "true"
    end = "coalesce(ended_at, timestamp '9999-01-01')" if where != "true" else "timestamp '9999-01-01'"
    if paid and "mrr" in source.tables["subscriptions"].columns:
        where += " and mrr > 0"
    return f"""
        with spans as (select account_id, started_at as start, {end} as stop from contract_subscriptions where {where}),
        opened as (
            select *, start > max(stop) over (partition by account_id order by start, stop
                rows between unbounded preceding and 1 preceding) as gap from spans),
        numbered as (
            select *, count(*) filter (gap) over (partition by account_id order by start, stop) as number from opened)
        select account_id, number, min(start) as start, max(stop) as stop from numbered group by all"""


def _without_subscription(source: Source, report: Report) -> None:
    rows, example = _row(
        source,
        "select count(distinct account_id), min(account_id) from contract_accounts "
        "where account_id not in (select account_id from contract_subscriptions)",
    )
    if rows:
        advice = "nothing, if they never paid: they are not predicted"
        report.add("note", "accounts", "account_id", "no_subscription", rows, f"account_id={example}", advice)


def _currencies(source: Source, report: Report) -> None:
    """Two currencies and no rates is fatal (domain.md §2)."""
    currencies, reporting = source.currencies, source.reporting_currency
    foreign = [currency for currency in currencies if currency != reporting]
    if not foreign:
        return
    rated: set[str] = set()
    if "fx" in source.tables:
        rated = {row[0] for row in source.connection.con.execute("select distinct currency from contract_fx").fetchall()}
    unrated = [currency for currency in foreign if currency not in rated]
    if reporting is None or unrated:
        found = ", ".join(f"{literal(currency)}" for currency in unrated or currencies)
        rows, first = _row(
            source,
            f"select count(*), arg_min(account_id, started_at) from contract_subscriptions where currency in ({found})"
            if "currency" in source.tables["subscriptions"].columns
            else "select 0, null",
        )
        example = f"account_id={first}: currency in {', '.join(currencies)}; reporting in {reporting or 'none given'}"
        advice = "give fx (currency, date, rate to the reporting currency) and data.reporting_currency"
        report.add("fatal", "subscriptions", "currency", "currencies_without_rates", rows, example, advice)


def _data_until(source: Source, report: Report) -> None:
    until, latest = source.data_until, latest_time(source)
    if until is None:
        return
    example = f"data_until = {until.isoformat()}"
    if latest is None:
        if any(finding.rule == "past_data_until" for finding in report.findings):
            report.add("fatal", "", "data_until", "before_everything", 0, example, "move data_until: every row lies past it")
        return
    if (until - latest).days >= _STALE_DAYS:
        advice = f"set it to {latest.isoformat()}: a time without rows reads as a time in which nothing happened"
        report.add("warning", "", "data_until", "after_everything", 0, f"{example}; the last row: {latest.isoformat()}", advice)


def _reactivations(source: Source, report: Report) -> None:
    rows, first, start = _row(
        source,
        f"select count(distinct account_id), min(account_id), arg_min(start, account_id) from ({_periods(source, paid=True)}) "
        "where number > 0",
    )
    if rows:
        advice = "nothing, if they came back; else correct the dates. A gap within the grace days is no churn"
        example = f"account_id={first}: starts again on {start.date().isoformat()}"
        report.add("warning", "subscriptions", "started_at", "reactivation", rows, example, advice)


def _usage_outside(source: Source, report: Report) -> None:
    if "usage" not in source.tables:
        return
    used = "select account_id, occurred_at, occurred_at as moment, count(*) as n from contract_usage group by all"
    if source.kept_usage is not None:
        used = f"select account_id, occurred_at, first_at as moment, rows as n from {USAGE_DAYS}"
    rows, total, before, account, moment = _row(
        source,
        f"""
        with periods as ({_periods(source, paid=False)}),
        used as ({used}),
        placed as (
            select used.*, periods.start, periods.stop from used asof left join periods
            on used.account_id = periods.account_id and used.occurred_at >= periods.start)
        select coalesce(sum(n) filter (start is null or occurred_at >= stop), 0)::bigint, sum(n)::bigint,
            coalesce(sum(n) filter (start is null), 0)::bigint,
            min(account_id) filter (start is null or occurred_at >= stop),
            arg_min(moment, account_id) filter (start is null or occurred_at >= stop) from placed""",
    )
    if rows:
        example = (
            f"account_id={account}: occurred_at = {moment.isoformat(sep=' ')}; "
            f"{rows / total:.1%} of all rows, {before} of them before the account's first subscription"
        )
        advice = "check the key and the dates; rows are kept, and count when the account is active"
        report.add("warning", "usage", "occurred_at", "outside_subscription", rows, example, advice)


def _churn_flags(source: Source, report: Report) -> None:
    """Count the accounts on which the declared flags and the subscriptions' own ends disagree."""
    flags = source.mapping.checks.churn_flags
    if not flags:
        return
    until = f"timestamp '{source.data_until}'" if source.data_until else "timestamp '9999-01-01'"
    says = {
        "subscriptions.ended_at": f"select account_id from ({_periods(source, paid=True)}) group by 1 having max(stop) < {until}"
    }
    connection = source.connection.con
    sources = open_sources(source.mapping.data.source, source.base, connection)
    try:
        for flag in flags:
            try:
                says[f"{flag.from_}:{flag.flag or 'rows'}"] = _flagged(sources, flag)
            except SourceError as error:
                report.add("warning", flag.from_, flag.flag, error.rule, 0, None, str(error))
        marks = ", ".join(f"a.account_id in ({query}) as f{index}" for index, query in enumerate(says.values()))
        names = [f"f{index}" for index in range(len(says))]
        differ = " or ".join(f"{names[0]} <> {name}" for name in names[1:]) or "false"
        accounts = f"select distinct account_id, {marks} from contract_accounts a"
        counts = ", ".join(f"count(*) filter ({name})" for name in names)
        counts = f"count(*) filter ({differ}), min(account_id) filter ({differ}), {counts}"
        found = connection.execute(f"select {counts} from ({accounts})").fetchone()
        if found and found[0]:
            told = ", ".join(f"{name} {count}" for name, count in zip(says, found[2:], strict=True))
            marked = connection.execute(
                f"select {', '.join(names)} from ({accounts}) where account_id = ?", [found[1]]
            ).fetchone()
            one = ", ".join(f"{name} {'yes' if mark else 'no'}" for name, mark in zip(says, marked or (), strict=True))
            example = f"account_id={found[1]}: {one}. Accounts that have left: {told}"
            advice = "labels read subscriptions alone; find out which of them your company goes by"
            report.add("warning", "accounts", flags[0].flag, "churn_flags_disagree", found[0], example, advice)
    finally:
        sources.close()


def _flagged(sources: Sources, flag: FlagMapping) -> str:
    """Return a query of the accounts that a flag says have left."""
    raw = sources.open(flag.from_)
    for name in (flag.account_id, flag.flag):
        if name is not None and find_column(raw, name) is None:
            raise SourceError("missing_column", f"{raw.name} has no column {name}; it has {', '.join(raw.types)}")
    account = f"trim(cast({quote(flag.account_id)} as varchar))"
    where = "true"
    if flag.flag is not None:
        where = f"lower(trim(cast({quote(flag.flag)} as varchar))) in ('true', 't', 'yes', 'y', '1')"
    return f"select {account} from {raw.relation} where {where} and {account} is not null"


def _missing_values(source: Source, report: Report) -> None:
    """Count empty optional cells, and surveys without an answer; facts that come later are empty by nature."""
    for name, table in source.tables.items():
        later = {column.name for column in TABLES[name].columns if column.known_at or column.required}
        columns = [column for column in table.columns if column not in later | {"recorded_at"}]
        if name == "surveys" and "score" in table.columns:
            columns.append("score")
        if not columns:
            continue
        total, *found = _empty_cells(source, name, columns)
        for index, column in enumerate(columns):
            empty, first = found[2 * index], found[2 * index + 1]
            unanswered = (name, column) == ("surveys", "score")
            if empty and (unanswered or empty > (1 - _FILLED) * total):
                rule = "unanswered" if unanswered else "missing_values"
                advice = "nothing: they count as unanswered surveys" if unanswered else "fill it in, if the company knows it"
                row = f"row {first}; " if first is not None else ""
                report.add("warning", name, column, rule, empty, f"{row}{empty / total:.0%} of {total} rows", advice)


def _empty_cells(source: Source, name: str, columns: list[str]) -> tuple[Any, ...]:
    """How many rows a table has, then for each column the empty cells and the first row with one, if it can be told."""
    kept = source.kept_usage
    if name == "usage" and kept is not None:
        return (kept.read, *(cell for column in columns for cell in (kept.empty[column], None)))
    counts = ", ".join(f"count(*) - count({column}), min(_row) filter ({column} is null)" for column in columns)
    return _row(source, f"select count(*), {counts} from contract_{name}")


def _changing_columns(source: Source, report: Report) -> None:
    """Name the columns that can change and have neither an instant of their own nor versions (domain.md §2)."""
    for name, table in source.tables.items():
        contract = TABLES[name]
        versions = "recorded_at" in table.columns or (contract.event in contract.key and contract.event in table.columns)
        columns = [column.name for column in contract.columns if column.changes and column.name in table.columns]
        if columns and not versions:
            advice = "they group and filter, and are no features; with recorded_at and a row for each version they could be"
            report.add("note", name, None, "changes_unseen", 0, ", ".join(columns), advice)
