"""Tables on an engine, built by it: the one place where each engine's tables are made."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from unittest import mock

import ibis
import pandas as pd
import pyarrow as pa
from sparks import MASTER

from features.builder import snapshot
from features.snapshots import Snapshot, snapshot_of
from features.spark import connect, read_tables
from features.spark_builder import found

Frames = Mapping[str, pd.DataFrame]
Build = Callable[[Frames, pd.DataFrame, Sequence[str]], Snapshot]


def _duckdb(frames: Frames, spine: pd.DataFrame, product_features: Sequence[str]) -> Snapshot:
    connection = ibis.duckdb.connect()
    tables = {name: connection.create_table(name, frame) for name, frame in frames.items()}
    return snapshot(tables, spine, product_features)


def _running(frames: Frames, spine: pd.DataFrame, product_features: Sequence[str]) -> Snapshot:
    """Count rows at midnight by running sums, as a backfill of many midnights is."""
    at_midnight = spine["as_of"] == spine["as_of"].dt.floor("D")
    with mock.patch("features.spine.MANY_MIDNIGHTS", 1):
        parts = [_duckdb(frames, spine[rows], product_features) for rows in (at_midnight, ~at_midnight)]
    names = [field.name for field in fields(Snapshot)]
    return Snapshot(*(pd.concat([getattr(part, name) for part in parts]).loc[spine.index] for name in names))


def _spark(frames: Frames, spine: pd.DataFrame, product_features: Sequence[str]) -> Snapshot:
    """Build on the Spark that runs (the fixture `spark`); the spine holds each row once."""
    connection = connect(MASTER)
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in frames.items():
            frame.to_parquet(Path(folder, f"{name}.parquet"), index=False)
        asked = spine.astype({"as_of": "datetime64[us]"})
        asked.to_parquet(Path(folder, "asked.parquet"), index=False)
        rows = connection.parquet(str(Path(folder, "asked.parquet")))
        with found(connection, read_tables(connection, folder), rows, str(Path(folder, "out")), product_features) as frame:
            built = frame.toArrow()
    place = pd.MultiIndex.from_arrays([built["account_id"].to_pylist(), built["as_of"].to_pylist()])
    wanted = pd.MultiIndex.from_arrays([asked["account_id"], asked["as_of"].astype("int64")])
    return snapshot_of(built.take(pa.array(place.get_indexer(wanted))), product_features)


#: Engine → what it builds of pandas frames.
ENGINES: dict[str, Build] = {"duckdb": _duckdb, "running sums": _running, "spark": _spark}
