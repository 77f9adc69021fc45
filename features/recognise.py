"""What `kunto init` proposes: a mapping of a company's tables, recognised by name and by content, as commented TOML."""

import json
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb

from features import casting
from features.contract import TABLES, Column
from features.loader import Source, latest_time, load
from features.mapping import Mapping
from features.sources import Raw, SourceError, Sources, literal, open_sources, quote, stem

_PERIODS = "monthly or yearly words are numbers of months here"


@cache
def synonyms() -> dict[str, Any]:
    """Return the declared foreign names (features/synonyms.toml)."""
    loaded: dict[str, Any] = tomllib.loads(files("features").joinpath("synonyms.toml").read_text(encoding="utf-8"))
    return loaded


def normal(name: str) -> str:
    """Return a name in lower case with _ between words.

    >>> normal("StartDate"), normal("Start date")
    ('start_date', 'start_date')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


@dataclass
class Draft:
    """The proposed mapping of one table: its options, its columns, and a comment for either."""

    name: str
    raw: Raw
    options: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the table as kunto.toml has it."""
        return {"from": self.raw.name, **self.options, "columns": self.columns}


def propose(source: str, *, base: Path = Path()) -> str:
    """Return the TOML text of a mapping for a folder of CSV or Parquet files, or a database URL.

    Every table and column is recognised by features/synonyms.toml and by what it holds: day-first dates, decimal
    commas, keys of subscriptions, daily sums, periods whose end is known in advance. What is not recognised stands in
    comments. `data_until` is the latest event or recorded time, up to the next midnight (domain.md §2).

    Raises:
        SourceError: the folder or database is not there, or a table of it cannot be read.
    """
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    sources = open_sources(source, base, connection)
    try:
        if not sources.names():
            told = f"{source} holds no table: no CSV or Parquet file, no table of a database; name the folder that holds them"
            raise SourceError("missing_source", told)
        matched = match_tables(sources.names())
        drafts = [_draft(connection, name, sources.open(matched[name])) for name in TABLES if name in matched]
        by_name = {draft.name: draft for draft in drafts}
        for draft in drafts:
            _key_through_subscriptions(draft, by_name)
        survey = _survey_of_tickets(connection, by_name)
        if survey is not None:
            drafts.append(survey)
        flags = _churn_flags(sources, drafts)
        others = [name for name in sources.names() if name not in matched.values()]
        trial = _trial(connection, by_name)
    finally:
        sources.close()
    config = {"data": {"source": source}, "tables": {draft.name: draft.as_dict() for draft in drafts}}
    loaded = load(Mapping.from_dict(config), base=base)
    if "subscriptions" in by_name:
        _end_known_ahead(by_name["subscriptions"], loaded)
    return _written(source, loaded, drafts, flags, others, trial)


def match_tables(names: list[str]) -> dict[str, str]:
    """Return contract table → source table, by its name or else by how its name ends.

    >>> match_tables(["acme_customers.csv", "acme_feature_usage.csv", "acme_misc.csv"])
    {'accounts': 'acme_customers.csv', 'usage': 'acme_feature_usage.csv'}
    >>> match_tables(["usage/*.parquet"])
    {'usage': 'usage/*.parquet'}
    """
    stems = {name: normal(stem(name)) for name in names}
    stems = {name: called for name, called in stems.items() if not _ends_in(called, synonyms()["special"]["churn_table"])}
    found: dict[str, str] = {}
    for prefix in ("", "_"):
        for table in TABLES:
            for known in (table, *synonyms()["tables"][table]):
                fits = (n for n, called in stems.items() if (called.endswith(prefix + known) if prefix else called == known))
                hit = next((n for n in fits if n not in found.values()), None)
                if hit is not None and table not in found:
                    found[table] = hit
    return {table: found[table] for table in TABLES if table in found}


def _ends_in(stem: str, names: list[str]) -> bool:
    return any(stem == name or stem.endswith(f"_{name}") for name in names)


def _named(raw: Raw, names: list[str]) -> str | None:
    """Return the first source column that goes by one of the names."""
    there = {normal(column): column for column in reversed(list(raw.types))}
    return next((there[name] for name in names if name in there), None)


def _draft(connection: duckdb.DuckDBPyConnection, name: str, raw: Raw) -> Draft:
    draft = Draft(name, raw)
    known = synonyms()["columns"]
    taken: list[str] = []
    for column in TABLES[name].columns:
        left = Raw(raw.name, raw.relation, {key: kind for key, kind in raw.types.items() if key not in taken})
        names = [column.name, *known["any"].get(column.name, []), *known.get(name, {}).get(column.name, [])]
        source = _named(left, names)
        if source is None:
            continue
        taken.append(source)
        mapped = _column(connection, column, source, raw, draft)
        if source != column.name or mapped != source:
            draft.columns[column.name] = mapped
    draft.unused = [column for column in raw.types if column not in taken]
    _dates(connection, draft, [c for c in taken if raw.types[c] == "VARCHAR"])
    occurred = _source_of(draft, "occurred_at")
    if name == "usage" and occurred is not None and _all_midnight(connection, draft, occurred):
        draft.options["grain"] = "day"
        draft.comments["grain"] = "every time is a date: a row is a day's sum, known when its day ends"
    return draft


def _column(connection: duckdb.DuckDBPyConnection, column: Column, source: str, raw: Raw, draft: Draft) -> Any:
    """Return how a recognised column is mapped: its name alone, or with units, words or a decimal comma."""
    mapped: dict[str, Any] = {"from": source}
    scale = synonyms()["scale"].get(normal(source))
    if scale is not None:
        mapped["scale"] = scale
    words = synonyms()["values"].get(column.name)
    if words and raw.types[source] == "VARCHAR":
        query = f"select distinct {quote(source)} from {raw.relation} where {quote(source)} is not null order by 1 limit 50"
        found = [row[0] for row in connection.execute(query).fetchall()]
        values = {word: words[normal(word)] for word in found if normal(word) in words}
        if values:
            mapped["values"] = values
            draft.comments[column.name] = _PERIODS
    if column.kind == "decimal" and raw.types[source] == "VARCHAR":
        comma = f"count(*) filter (regexp_full_match({quote(source)}, '\\s*-?[0-9 ]+,[0-9]+\\s*'))"
        row = connection.execute(f"select {comma} from {raw.relation}").fetchone()
        if row and row[0]:
            draft.options["decimal_comma"] = True
    return source if len(mapped) == 1 else mapped


def _source_of(draft: Draft, column: str) -> str | None:
    """Return the source column that a contract column is read from in a draft."""
    mapped = draft.columns.get(column, column if column in draft.raw.types else None)
    return mapped.get("from") if isinstance(mapped, dict) else mapped


def _dates(connection: duckdb.DuckDBPyConnection, draft: Draft, columns: list[str]) -> None:
    """Decide the order of day and month from the values: a first part above 12 is a day, a second part likewise."""
    first = second = dated = 0
    times = {_source_of(draft, column.name) for column in TABLES[draft.name].columns if column.kind == "time"}
    for column in columns:
        if column not in times:
            continue
        pattern = r"^\s*(\d{1,2})[-/.](\d{1,2})[-/.]\d{2,4}"
        part = "try_cast(regexp_extract({0}, '{1}', {2}) as int) > 12"
        query = ", ".join(f"count(*) filter ({part.format(quote(column), pattern, group)})" for group in (1, 2))
        all_of = f"count(*) filter (regexp_matches({quote(column)}, '{pattern}'))"
        row = connection.execute(f"select {query}, {all_of} from {draft.raw.relation}").fetchone() or (0, 0, 0)
        first, second, dated = first + row[0], second + row[1], dated + row[2]
    if dated:
        draft.options["dates"] = "month_first" if second > first else "day_first"
        why = f"{max(first, second)} values have a {'second' if second > first else 'first'} part above 12"
        draft.comments["dates"] = why if max(first, second) else "no value tells: check whether day or month comes first"


def _all_midnight(connection: duckdb.DuckDBPyConnection, draft: Draft, column: str) -> bool:
    value = casting.value(quote(column), draft.raw.types[column], "time", draft.options.get("dates", "iso"))
    query = f"select count(*) filter ({value} <> date_trunc('day', {value})), count({value}) from {draft.raw.relation}"
    timed, there = connection.execute(query).fetchone() or (0, 0)
    return bool(there) and not timed


def _key_through_subscriptions(draft: Draft, drafts: dict[str, Draft]) -> None:
    """A table without account_id that carries a subscription's key belongs to that subscription's account."""
    if "account_id" not in TABLES[draft.name].names or _source_of(draft, "account_id") is not None:
        return
    keys = ["subscription_id", *synonyms()["columns"]["any"]["subscription_id"]]
    own, subscriptions = _named(draft.raw, keys), drafts.get("subscriptions")
    if own is None or subscriptions is None:
        return
    key, account = _source_of(subscriptions, "subscription_id"), _source_of(subscriptions, "account_id")
    if key is not None and account is not None:
        draft.columns["account_id"] = {"from": own, "through": "subscriptions", "key": key, "value": account}
        draft.comments["account_id"] = "rows are keyed by subscription: its account is looked up"
        draft.unused = [column for column in draft.unused if column != own]


def _survey_of_tickets(connection: duckdb.DuckDBPyConnection, drafts: dict[str, Draft]) -> Draft | None:
    """A satisfaction score on tickets is a survey sent when the ticket was resolved, unanswered where it is empty."""
    tickets = drafts.get("tickets")
    score = _named(tickets.raw, synonyms()["special"]["satisfaction"]) if tickets is not None else None
    resolved = _source_of(tickets, "resolved_at") if tickets is not None else None
    if tickets is None or score is None or resolved is None or "surveys" in drafts:
        return None
    draft = Draft("surveys", tickets.raw, {key: tickets.options[key] for key in ("dates",) if key in tickets.options})
    account = tickets.columns.get("account_id")
    answered = f"case when {quote(score)} is not null then {quote(resolved)} end"
    unresolved = f"select count(*) from {tickets.raw.relation} where {quote(resolved)} is null"
    if (connection.execute(unresolved).fetchone() or (0,))[0]:
        draft.options["where"] = f"{quote(resolved)} is not null"
    draft.columns = {
        **({"account_id": account} if account is not None else {}),
        "kind": {"constant": "csat"},
        "sent_at": resolved,
        "responded_at": {"sql": answered},
        "score": score,
        "about": {"constant": "ticket"},
    }
    value = casting.value(quote(score), tickets.raw.types[score], "decimal", "iso")
    top = (connection.execute(f"select max({value}) from {tickets.raw.relation}").fetchone() or (None,))[0]
    if top is not None and top > 5:
        draft.columns["scale_max"] = {"constant": 10 if top <= 10 else 100}
    draft.comments["surveys"] = "asked when a ticket is resolved; one without a score is an unanswered survey"
    tickets.unused = [column for column in tickets.unused if column != score]
    return draft


def _churn_flags(sources: Sources, drafts: list[Draft]) -> list[dict[str, str]]:
    """Return the columns and tables that say which accounts have left."""
    special, flags = synonyms()["special"], []
    for draft in drafts:
        account, flag = _source_of(draft, "account_id"), _named(draft.raw, special["churn_flag"])
        if draft.name in ("accounts", "subscriptions") and account is not None and flag is not None:
            flags.append({"from": draft.raw.name, "account_id": account, "flag": flag})
            draft.unused = [column for column in draft.unused if column != flag]
    used = {draft.raw.name for draft in drafts}
    for name in sources.names():
        called = normal(stem(name))
        if name not in used and _ends_in(called, special["churn_table"]):
            account = _named(sources.open(name), ["account_id", *synonyms()["columns"]["any"]["account_id"]])
            if account is not None:
                flags.append({"from": name, "account_id": account})
    return flags


def _trial(connection: duckdb.DuckDBPyConnection, drafts: dict[str, Draft]) -> str | None:
    """Leave trials with a price out, since they are no revenue; of unpaid ones return a hint only."""
    draft = drafts.get("subscriptions")
    flag = _named(draft.raw, synonyms()["special"]["trial_flag"]) if draft is not None else None
    price = _source_of(draft, "mrr") if draft is not None else None
    if draft is None or flag is None:
        return None
    draft.unused = [column for column in draft.unused if column != flag]
    spelled = flag if re.fullmatch(r"[a-z_]+", flag) else quote(flag)
    yes = f"coalesce(lower({spelled}::varchar), '') in ('true', 'yes', '1')"
    where = yes.replace(") in (", ") not in (")
    if price is not None:
        comma = draft.options.get("decimal_comma", False)
        amount = casting.value(quote(price), draft.raw.types[price], "decimal", "iso", decimal_comma=comma)
        row = connection.execute(f"select count(*) from {draft.raw.relation} where {yes} and {amount} > 0").fetchone()
        if row and row[0]:
            draft.options["where"] = where
            draft.comments["where"] = f"{row[0]} trials have a price, which nobody pays yet"
            return None
    return f"trials have no price, so they are never active; to leave them out: where = {json.dumps(where)}"


def _end_known_ahead(draft: Draft, loaded: Source) -> None:
    """Where no period is open and ends lie past the data, an end is a renewal date known in advance."""
    table, latest, end = loaded.tables.get("subscriptions"), latest_time(loaded), _source_of(draft, "ended_at")
    if table is None or latest is None or end is None or "renewal_at" in table.columns or "ended_at" not in table.columns:
        return
    counts = f"count(*) filter (ended_at is null), count(*) filter (ended_at > {literal(str(latest))})"
    open_rows, ahead = loaded.connection.con.execute(f"select {counts} from contract_subscriptions").fetchone()
    if not open_rows and ahead:
        draft.columns["renewal_at"] = draft.columns.get("ended_at", end)
        draft.comments["renewal_at"] = "every row is a paid period whose end is known in advance: it is also the renewal date"


def _written(
    source: str,
    loaded: Source,
    drafts: list[Draft],
    flags: list[dict[str, str]],
    others: list[str],
    trial: str | None,
) -> str:
    """Return the drafts as TOML text with comments."""
    lines = ["[data]", f"source = {_toml(source)}"]
    latest = latest_time(loaded)
    if latest is not None:
        lines.append(f"data_until = {latest.isoformat()}  # the data reach to here (exclusive): the latest event, up to midnight")
    else:
        lines.append("# data_until = 2026-01-01T00:00:00  # write the end of the data here (exclusive)")
    currency = loaded.reporting_currency
    money = f"reporting_currency = {_toml(currency)}" if currency else '# reporting_currency = "EUR"'
    lines += [money + ("" if currency else "  # with more than one currency, the one of the reports")]
    flagged = {flag["from"] for flag in flags}
    unknown = [name for name in others if name not in flagged]
    if unknown:
        lines += ["", "# Not recognised; map them in [tables], or list them in data.ignore: " + ", ".join(unknown)]
    missing = [name for name in ("accounts", "subscriptions") if name not in {draft.name for draft in drafts}]
    lines += [f"# Required, and not found: [tables.{name}] from = …" for name in missing]
    for draft in drafts:
        lines += ["", *_table_lines(draft, trial)]
    for flag in flags:
        lines += ["", "[[checks.churn_flags]]  # says which accounts have left: compared by `kunto check`"]
        lines += [f"{key} = {_toml(value)}" for key, value in flag.items()]
    return "\n".join(lines) + "\n"


def _table_lines(draft: Draft, trial: str | None) -> list[str]:
    lines = [f"[tables.{draft.name}]" + _comment(draft, draft.name), f"from = {_toml(draft.raw.name)}"]
    lines += [f"{key} = {_toml(value)}{_comment(draft, key)}" for key, value in draft.options.items()]
    if draft.name == "subscriptions" and trial is not None:
        lines.append(f"# {trial}")
    if draft.unused:
        lines.append("# no column of the contract: " + ", ".join(draft.unused))
    if draft.columns:
        lines += ["", f"[tables.{draft.name}.columns]"]
        lines += [f"{key} = {_toml(value)}{_comment(draft, key)}" for key, value in draft.columns.items()]
    return lines


def _comment(draft: Draft, key: str) -> str:
    return f"  # {draft.comments[key]}" if key in draft.comments else ""


def _toml(value: Any) -> str:
    """Return a value as TOML; JSON's strings, numbers and booleans are TOML's too.

    >>> _toml({"from": "term", "values": {"monthly": 1}})
    '{ from = "term", values = { "monthly" = 1 } }'
    """
    if isinstance(value, dict):
        pairs = (f"{key if key in _BARE else json.dumps(key, ensure_ascii=False)} = {_toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return json.dumps(value, ensure_ascii=False)


_BARE = {"from", "constant", "sql", "scale", "values", "through", "key", "value", "dates"}
__all__ = ["SourceError", "match_tables", "normal", "propose", "synonyms"]
