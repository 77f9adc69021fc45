"""What a build is given, whichever engine runs it: which tables it reads, and what it refuses about them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from features.catalogue import counts
from features.contract import REQUIRED_TABLES, TABLES
from features.revenue import Rates
from features.visible import prepare

#: The first row that is priced in a currency without a rate at T, out of the steps `standing` and `candidates`.
UNRATED = (
    "select account_id, as_of from {standing} join {candidates} using (spine_id) where unrated order by as_of, account_id limit 1"
)


def read(tables: Mapping[str, Any], product_features: Sequence[str], *, lacking: str = "map it in kunto.toml") -> dict[str, Any]:
    """Return those of the Ibis tables that features read.

    Raises ValueError where a required table or column is missing (`lacking` says what to do then), a table's name is unknown, or
    a column has a time zone.
    """
    for name in REQUIRED_TABLES:
        if name not in tables:
            raise ValueError(f"tables lacks {name!r}, which is required; given: {', '.join(sorted(tables)) or 'none'}")
    for name in tables:
        if name not in TABLES:
            raise ValueError(f"tables has {name!r}, which the contract does not know; known: {', '.join(TABLES)}")
    wanted = {each.source for each in counts(product_features)} | {"fx"}
    found = {}
    for name, table in tables.items():
        missing = [column for column in TABLES[name].required if column not in table.columns]
        if missing:
            raise ValueError(f"table {name!r} lacks the required column {missing[0]!r}: {lacking}")
        # Rows that do not say when they happened nor when they were recorded cannot be placed before T.
        if name in wanted and {TABLES[name].event, "recorded_at"} & set(table.columns):
            prepare(name, table)  # refuses what cannot be read, before anything is made
            found[name] = table
    return found


def foreign(schemas: Mapping[str, Any], currencies: Callable[[str], set[str]]) -> tuple[str, ...]:
    """Return the currencies that have rates; ValueError where the prices are in two or more that have none.

    `currencies(table)` gives those that a table names.
    """
    rated = currencies("fx") if "fx" in schemas else set()
    if {"mrr", "currency"} <= set(schemas["subscriptions"].names):
        Rates([name for name in sorted(currencies("subscriptions")) if name not in rated], None)
    return tuple(sorted(rated))


def refuse_unrated(account_id: str, as_of: int) -> None:
    """Raise the ValueError about a price whose currency has no rate; `as_of` in microseconds since 1970."""
    raise ValueError(
        f"fx has no rate for the currency of account {account_id} before {pd.Timestamp(as_of, unit='us')}: "
        "give fx rates from the first subscription on"
    )
