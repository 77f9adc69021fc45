"""What may be read at T: the last version of each row recorded before T, if it happened before T, later facts masked.

Instants become days before T (`paid_at` becomes `paid_ago`: negative ahead of T, NaN where there is none). Divided out of whole
microseconds, they keep them apart, and a whole number of days stays whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd

from features.contract import TABLES

#: One account's visible rows: `count`, and each column of the contract as an array (text: None where there is none).
Rows = SimpleNamespace
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Known:
    """What is known at T: the visible rows of every table of the contract, and the columns that the source really has."""

    tables: Mapping[str, pd.DataFrame]
    columns: Mapping[str, frozenset[str]]

    def of_accounts(self) -> dict[str, dict[str, Rows]]:
        """Return the own rows, by table, of every account that has any."""
        nothing = self.nothing()
        own: dict[str, dict[str, Rows]] = {}
        for table, frame in self.tables.items():
            if "account_id" in frame:
                arrays = {name: frame[name].to_numpy() for name in frame.columns}
                for account, places in frame.groupby("account_id", sort=False).indices.items():
                    rows = Rows(count=len(places), **{name: values[places] for name, values in arrays.items()})
                    own.setdefault(account, dict(nothing))[table] = rows
        return own

    def nothing(self) -> dict[str, Rows]:
        """Return the rows of an account that has none."""
        return {
            table: Rows(count=0, **{name: frame[name].to_numpy()[:0] for name in frame.columns})
            for table, frame in self.tables.items()
        }


def known(tables: Mapping[str, pd.DataFrame], at: datetime) -> Known:
    """Return what may be read at `at`; of a table that says neither when a row happened nor when it was recorded, nothing."""
    placed = {name: frame for name, frame in tables.items() if {TABLES[name].event, "recorded_at"} & set(frame.columns)}
    none = {name: pd.DataFrame(columns=list(TABLES[name].required)) for name in TABLES if name not in placed}
    return Known(
        {name: visible(name, frame, at) for name, frame in (placed | none).items()},
        {name: frozenset(frame.columns) for name, frame in placed.items()},
    )


def visible(name: str, frame: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """Return the rows of one table that may be read at `at`."""
    contract = TABLES[name]
    rows = pd.DataFrame({column.name: _values(frame, column.name, column.kind) for column in contract.columns})
    recorded = rows["recorded_at"].fillna(rows[contract.event])
    event = rows[contract.event].fillna(recorded)
    rows = rows[recorded < at].assign(recorded=recorded, event=event)
    if contract.key and "recorded_at" in frame:
        rows = rows.sort_values("recorded", kind="stable")
        keyed = rows[contract.key[0]].notna() if len(contract.key) == 1 else pd.Series(data=True, index=rows.index)
        rows = rows[~(keyed & rows.duplicated(list(contract.key), keep="last"))]
    rows = rows[rows["event"] < at].drop(columns=["recorded", "event"])
    for column in contract.columns:
        if column.known_at is not None:
            rows[column.name] = rows[column.name].where(rows[column.known_at] < at)
    return rows.assign(**{ago(c.name): (at - rows[c.name]) / DAY for c in contract.columns if c.kind == "time"})


def ago(name: str) -> str:
    """The name of a column of instants, as days before T."""
    return f"{name.removesuffix('_at')}_ago"


def _values(frame: pd.DataFrame, name: str, kind: str) -> pd.Series:
    """Return a column; nulls where the source lacks it."""
    values = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
    if kind == "time":
        return values.astype("datetime64[us]")
    if kind == "text":
        return values.astype(object).where(values.notna(), None)
    return values.astype("Float64").astype("float64") if kind == "boolean" else values.astype("float64")
