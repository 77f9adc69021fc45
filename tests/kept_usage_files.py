"""A small company whose use comes in files, loaded out of kept rollups and whole, for tests that compare the two."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kept_rollups import SCHEMA

from features import usage_files
from features.builder import snapshot
from features.loader import Source, load
from features.mapping import Mapping as DataMapping

UNTIL = pd.Timestamp("2026-02-01")
MIDNIGHTS = ("2026-02-01", "2026-01-02", "2025-11-30")
FEATURES = ("open",)
ACCOUNTS = ("account_id,created_at", "a,2025-01-01", "b,2025-01-01", "c,2025-06-01")
SUBSCRIPTIONS = (
    "account_id,started_at,ended_at,seats,mrr",
    "a,2025-01-01,,5,100",
    "b,2025-02-01,2025-12-01,2,50",
    "c,2025-06-01,,9,7",
)
CONFIG: dict[str, Any] = {
    "data": {"source": "tables", "data_until": UNTIL.to_pydatetime()},
    "tables": {"usage": {"from": "usage/*"}},
}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of use that were read, in order."""
    names: list[str] = []
    as_it_is = usage_files.UsageFiles.__call__

    def reading(self: Any, connection: Any, path: Path) -> Any:
        names.append(path.name)
        return as_it_is(self, connection, path)

    monkeypatch.setattr(usage_files.UsageFiles, "__call__", reading)
    return names


def made(seed: int, rows: int = 60) -> list[dict[str, Any]]:
    """Rows with every fault: unknown accounts, after the end of the data, repeated ids, versions, values out of bounds."""
    rng = np.random.default_rng(seed)
    minutes = pd.to_timedelta(rng.integers(0, 60 * 24 * 250, rows), unit="min")
    occurred = (pd.Timestamp("2025-06-10") + minutes).floor("12h").astype("datetime64[us]")
    late = occurred + pd.to_timedelta(rng.integers(0, 60, rows), unit="D")
    return [
        {
            "account_id": rng.choice(["a", "a", "b", "c", "z", None]),
            "feature": rng.choice(["open", "save", "cancel_page", None]),
            "occurred_at": occurred[k],
            "event_id": rng.choice([None, *(f"e{n}" for n in range(25))]),
            "user_id": rng.choice(["u", "v", None]),
            "quantity": rng.choice([None, 1, 4]),
            "users": rng.choice([None, 3, -2]),
            "value": rng.choice([None, 0.25, -1.5]),
            "recorded_at": rng.choice([None, late[k]]),
        }
        for k in range(rows)
    ]


def write(path: Path, rows: Iterable[dict[str, Any]], without: tuple[str, ...] = ()) -> None:
    """Write rows as Parquet or, by the name, as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([field for field in SCHEMA if field.name not in without])
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)
    if path.suffix == ".csv":
        table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).to_csv(path, index=False)
    else:
        pq.write_table(table, path)


def good(number: int, **others: Any) -> dict[str, Any]:
    """A row without a fault."""
    row = {"account_id": "a", "feature": "open", "occurred_at": pd.Timestamp("2025-09-01 10:00") + pd.Timedelta(number, "D")}
    return row | {"event_id": f"e{number}", "user_id": "u", "quantity": 1, "users": 2, "value": 0.5, "recorded_at": None} | others


def company_in(folder: Path) -> Path:
    """Write accounts and subscriptions under the folder of a kunto.toml; return that."""
    for name, lines in (("accounts", ACCOUNTS), ("subscriptions", SUBSCRIPTIONS)):
        path = folder / "tables" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return folder


def loaded(base: Path, *, keep: bool, config: dict[str, Any] = CONFIG) -> Source:
    """Load the company, its use out of kept rollups or whole."""
    return load(DataMapping.from_dict(config), base=base, keep=base / "rollups" if keep else None)


def frame(tables: Mapping[str, Any], midnights: Sequence[str] = MIDNIGHTS) -> pd.DataFrame:
    """Features of every account at some midnights."""
    dates = pd.DataFrame({"as_of": pd.to_datetime(list(midnights))})
    return snapshot(tables, pd.DataFrame({"account_id": ["a", "b", "c"]}).merge(dates, how="cross"), FEATURES).features
