"""Files of usage events for tests of kept rollups, and the features that a build from scratch gives on the same rows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.builder import Builder, snapshot
from features.contract import TABLES
from features.rollup_store import RollupStore

Row = dict[str, Any]
_KINDS = {"time": pa.timestamp("us"), "text": pa.string(), "integer": pa.int64(), "decimal": pa.float64()}
SCHEMA = pa.schema([(column.name, _KINDS[column.kind]) for column in TABLES["usage"].columns])
COLUMNS = tuple(SCHEMA.names)
ACCOUNTS = ("a", "b", "c")
PRODUCT_FEATURES = ("open",)
MIDNIGHTS = ("2025-02-03", "2025-04-01", "2025-05-11")


def at(text: str | None) -> pd.Timestamp | None:
    """An instant; none where there is none."""
    return None if text is None else pd.Timestamp(text)


def event(event_id: str | None, occurred_at: str, recorded_at: str | None = None, **others: Any) -> Row:
    """One row of use."""
    row = {"account_id": "a", "feature": "open", "user_id": "u", "quantity": 1, "users": None, "value": None} | others
    return row | {"event_id": event_id, "occurred_at": at(occurred_at), "recorded_at": at(recorded_at)}


def write(path: Path, rows: Sequence[Row], columns: Iterable[str] = COLUMNS) -> Path:
    """Write rows as a Parquet file with these columns; the folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema), path)
    return path


def files_of(folder: Path) -> dict[str, Path]:
    """The source's files by name."""
    return {path.name: path for path in sorted(folder.glob("*.parquet"))}


def company() -> dict[str, pd.DataFrame]:
    """The other tables, which never change."""
    accounts = pd.DataFrame({"account_id": ACCOUNTS})
    started = pd.to_datetime(["2024-03-01", "2025-01-10", "2024-12-31"])
    subscriptions = accounts.assign(started_at=started, seats=[5, 2, 9], mrr=[10.0, 20.0, 7.5])
    return {"accounts": accounts, "subscriptions": subscriptions}


def spine(midnights: Sequence[str] = MIDNIGHTS) -> pd.DataFrame:
    """Every account at every midnight."""
    return pd.DataFrame({"account_id": ACCOUNTS}).merge(pd.DataFrame({"as_of": pd.to_datetime(list(midnights))}), how="cross")


def kept(store: RollupStore, product_features: Sequence[str] = PRODUCT_FEATURES) -> pd.DataFrame:
    """Features out of what a store holds, by adding up and, the same, by running sums."""
    backend = ibis.duckdb.connect()
    try:
        tables = {**company(), "usage": store.rolled(backend)}
        with Builder(tables, product_features) as builder:
            found = builder.features(spine())
            with mock.patch("features.spine.MANY_MIDNIGHTS", 1):
                same(builder.features(spine()), found)
            return found
    finally:
        backend.disconnect()


def from_scratch(files: Mapping[str, Path], product_features: Sequence[str] = PRODUCT_FEATURES) -> pd.DataFrame:
    """Features of a build on all rows of the files, each content read once, after the loader's rule for duplicates."""
    contents = {path.read_bytes(): pq.read_table(path) for _, path in sorted(files.items())}
    columns = [name for name in COLUMNS if any(name in table.column_names for table in contents.values())]
    rows = pa.concat_tables([_with(table, columns) for table in contents.values()]).to_pandas(types_mapper=_nullable)
    if "quantity" in rows:  # as the loader does, before it looks at what is there twice
        rows["quantity"] = rows["quantity"].fillna(1)
    return snapshot({**company(), "usage": without_duplicates(rows)}, spine(), product_features).features


def without_duplicates(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each event_id and recorded_at: the earliest event, then the least content."""
    if "event_id" not in rows:
        return rows
    ordered = rows.sort_values(["occurred_at", *rows.columns.drop("occurred_at")], na_position="last", kind="stable")
    key = [name for name in ("event_id", "recorded_at") if name in rows]
    return ordered[ordered["event_id"].isna() | ~ordered.duplicated(key)].reset_index(drop=True)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Assert that features are equal, to nine digits."""
    pd.testing.assert_frame_equal(left, right, rtol=1e-9, atol=0)


def stray(folder: Path, store: RollupStore) -> set[str]:
    """Files of partitions in a store's folder that its state does not list."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    return there - store.rolled(ibis.duckdb.connect()).state.listed()


def _with(table: pa.Table, columns: list[str]) -> pa.Table:
    absent = [pa.nulls(len(table), SCHEMA.field(name).type) for name in columns if name not in table.column_names]
    names = [name for name in columns if name not in table.column_names]
    for name, nulls in zip(names, absent, strict=True):
        table = table.append_column(name, nulls)
    return table.select(columns)


def _nullable(kind: pa.DataType) -> Any:
    return {pa.int64(): pd.Int64Dtype(), pa.string(): pd.StringDtype()}.get(kind)
