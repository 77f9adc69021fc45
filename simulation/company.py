"""A whole simulated company: its tables in the shape of the data contract, and the truth behind them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.contract import DECIMAL_SCALE, TABLES
from simulation import contracts as contracts_
from simulation import relations, support, truth, work
from simulation.life import live
from simulation.population import Clock, populate
from simulation.usage import usage

_ARROW = {
    "text": pa.string(),
    "time": pa.timestamp("us"),
    "integer": pa.int64(),
    "decimal": pa.decimal128(24, DECIMAL_SCALE),
    "boolean": pa.bool_(),
}
#: Rows written at once.
_SLICE = 1_000_000
#: One stream of random numbers each, so that a change in one subject leaves the others as they were.
_STREAMS = (
    "population",
    "causes",
    "contracts",
    "subscriptions",
    "usage",
    "contacts",
    "touchpoints",
    "outcomes",
    "tickets",
    "surveys",
    "observations",
    "projects",
    "plays",
    "invoices",
    "costs",
    "fx",
    "versions",
    "truth",
)


@dataclass(frozen=True)
class Company:
    """`tables`: contract name → frame; `truth`: `causes` (history.History.causes), `outcomes` and `effects` (truth.py)."""

    tables: dict[str, pd.DataFrame]
    truth: dict[str, pd.DataFrame]
    data_until: pd.Timestamp


def simulate(accounts: int, months: int, seed: int, *, data_until: str | pd.Timestamp = "2026-07-01") -> Company:
    """Simulate `accounts` B2B customers over the `months` before `data_until` (a midnight); same seed, same company.

    ValueError where accounts or months are below 1, the seed is negative, or data_until is no midnight.

    >>> company = simulate(20, 6, seed=1)
    >>> len(company.tables["accounts"]), str(company.data_until.date())
    (20, '2026-07-01')
    """
    for name, value, least in (("accounts", accounts, 1), ("months", months, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}: give a larger number")
    end = pd.Timestamp(data_until)
    if end != end.normalize():
        raise ValueError(f"data_until is {end}; it must be a midnight: give a date without a time, as 2026-07-01")
    start = end - pd.DateOffset(months=months)
    clock = Clock(np.datetime64(start.date(), "D"), (end - start).days)
    rng = {name: np.random.default_rng([seed, number]) for number, name in enumerate(_STREAMS)}

    population = populate(accounts, clock, rng["population"])
    history, course = live(population, rng["causes"])
    contracts = contracts_.sign(history, rng["contracts"])
    people = relations.employ(history, rng["contacts"])
    subscriptions = contracts_.subscriptions(history, contracts, rng["subscriptions"])
    tables = {
        "accounts": population.table(),
        "subscriptions": subscriptions,
        "invoices": work.invoices(history, subscriptions, rng["invoices"]),
        "usage": usage(history, contracts, rng["usage"]),
        "tickets": support.tickets(history, contracts, rng["tickets"]),
        "surveys": support.surveys(history, people, rng["surveys"]),
        "touchpoints": relations.touchpoints(history, people, rng["touchpoints"]),
        "contacts": relations.contacts(history, people, rng["versions"]),
        "outcomes": relations.outcomes(history, contracts, rng["outcomes"]),
        "observations": support.observations(history, contracts, rng["observations"]),
        "projects": work.projects(history, rng["projects"]),
        "offers": work.offers(history, contracts),
        "plays": work.plays(history, rng["plays"]),
        "costs": work.costs(history, rng["costs"]),
        "fx": work.rates_of_exchange(clock, rng["fx"]),
    }
    known = {
        "causes": history.causes(),
        "outcomes": truth.outcomes(history, course, rng["truth"]),
        "effects": truth.effects(history),
    }
    return Company({name: _conform(frame, name) for name, frame in tables.items()}, known, end)


def write(company: Company, directory: str | Path) -> None:
    """Write `<directory>/tables/<name>.parquet` and `<directory>/truth/<name>.parquet`: same company, same bytes."""
    for folder, frames in (("tables", company.tables), ("truth", company.truth)):
        target = Path(directory) / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            schema = _schema(name, frame) if folder == "tables" else pa.Schema.from_pandas(frame, preserve_index=False)
            schema = schema.remove_metadata()
            with pq.ParquetWriter(target / f"{name}.parquet", schema, compression="zstd") as file:
                # A slice at a time: the casts of twenty million rows at once would double the memory.
                for first in range(0, len(frame), _SLICE) or (0,):
                    part = pa.Table.from_pandas(frame.iloc[first : first + _SLICE], preserve_index=False)
                    file.write_table(part.cast(schema))


def _schema(name: str, frame: pd.DataFrame) -> pa.Schema:
    return pa.schema([(column, _ARROW[TABLES[name].column(column).kind]) for column in frame.columns])


def _conform(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Bring a frame to the contract's types; money and fractions are floats of at most DECIMAL_SCALE places."""
    types = {"text": "str", "time": "datetime64[us]", "integer": "int64", "decimal": "float64"}
    kinds = {column: TABLES[name].column(column).kind for column in frame.columns}
    whole = {"boolean": "boolean"} if frame.isna().any(axis=None) else {"boolean": "bool"}
    frame = frame.reset_index(drop=True).astype({column: (types | whole)[kind] for column, kind in kinds.items()})
    decimals = [column for column, kind in kinds.items() if kind == "decimal"]
    frame[decimals] = frame[decimals].round(DECIMAL_SCALE)
    return frame
