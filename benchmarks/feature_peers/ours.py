"""Kunto's own backfill: every feature of the catalogue. `python -m benchmarks.feature_peers.ours FILES SPINE OUT`."""

from pathlib import Path

import ibis
import pandas as pd

from benchmarks.feature_peers.program import program
from features import build


def run(files: Path, spine: Path, out: Path) -> None:
    """Write the features of each row of `spine` into `out`: the whole catalogue, the standing among peers included."""
    connection = ibis.duckdb.connect()
    tables = {name: connection.read_parquet(f"{files}/{name}.parquet") for name in ("accounts", "subscriptions")}
    tables["usage"] = connection.read_parquet(f"{files}/usage/*.parquet")
    build(tables, pd.read_parquet(spine)).to_parquet(out, index=False)


if __name__ == "__main__":
    program(run)
