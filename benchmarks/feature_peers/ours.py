"""Kunto's own backfill: every feature of use. `python -m benchmarks.feature_peers.ours FILES SPINE OUT`."""

from pathlib import Path

import ibis
import pandas as pd

from benchmarks.feature_peers.program import program
from features import build
from features.catalogue import catalog
from features.catalogue.usage import SOURCE


def run(files: Path, spine: Path, out: Path) -> None:
    """Write the features of use of each row of `spine` into `out`, the standing among peers included.

    `build` gives the whole catalogue, empty where its tables are not connected, as its users get it.
    """
    connection = ibis.duckdb.connect()
    tables = {name: connection.read_parquet(f"{files}/{name}.parquet") for name in ("accounts", "subscriptions")}
    tables["usage"] = connection.read_parquet(f"{files}/usage/*.parquet")
    built = build(tables, pd.read_parquet(spine))
    of_use = [name for name, feature in catalog().items() if feature.source == SOURCE]
    built[["account_id", "as_of", *of_use]].to_parquet(out, index=False)


if __name__ == "__main__":
    program(run)
