"""A night, and one account on demand, on kept rollups. `python -m benchmarks.feature_peers.nightly FILES NIGHT KEPT`.

KEPT holds the rollups of FILES; it is left as it was. Prints the seconds of the night (the new file is counted, the features of
all accounts at the next midnight are built), and of one account's features after it, the median of many.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ibis
import pandas as pd

from benchmarks.feature_events import MONTHS, month_first
from benchmarks.memory import peak_mib
from features.builder import Builder
from features.rollup_store import RollupStore

_ASKED = 25


def run(files: Path, night: Path, kept: Path) -> dict[str, float]:
    """Return seconds of the night and of one account, and the peak of memory in MiB."""
    names = {path.name: path for path in sorted((files / "usage").glob("*.parquet"))}
    as_of = pd.Timestamp(month_first(MONTHS)) + pd.Timedelta(days=1)
    connection = ibis.duckdb.connect()
    tables = {name: connection.read_parquet(f"{files}/{name}.parquet") for name in ("accounts", "subscriptions")}
    ids = tables["accounts"].select("account_id").execute()
    with tempfile.TemporaryDirectory(dir=kept.parent) as place:
        copied = Path(place) / "kept"
        shutil.copytree(kept, copied)
        store = RollupStore(copied)
        # What a process does the first time alone, such as writing its queries, is no part of a night.
        with Builder({**tables, "usage": store.rolled(connection)}) as builder:
            builder.snapshot(ids.head(1).assign(as_of=as_of - pd.Timedelta(days=1)))
        os.sync()  # what was copied is written before the clock begins
        began = time.perf_counter()
        store.update(names | {night.name: night})
        with Builder({**tables, "usage": store.rolled(connection)}) as builder:
            builder.snapshot(ids.assign(as_of=as_of))
            spent = time.perf_counter() - began
            single = []
            for position in range(_ASKED):
                asked = ids.iloc[[position * len(ids) // _ASKED]].assign(as_of=as_of)
                began = time.perf_counter()
                builder.snapshot(asked)
                single.append(time.perf_counter() - began)
    return {"seconds": spent, "account_seconds": statistics.median(single), "peak_mib": peak_mib()}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))))
