"""A plain DuckDB scan of the columns that features read: the floor. `python -m benchmarks.feature_peers.scan FILES SPINE OUT`."""

from pathlib import Path

import duckdb

from benchmarks.feature_peers.program import program

COLUMNS = ("account_id", "feature", "occurred_at", "user_id", "quantity", "value")


def run(files: Path, spine: Path, out: Path) -> None:  # noqa: ARG001
    """Read and decode every value of `COLUMNS`; `out` gets a fingerprint of each column."""
    # A count or a maximum could be answered from the files' statistics.
    fingerprints = ", ".join(f"bit_xor(hash({column})) as {column}" for column in COLUMNS)
    with duckdb.connect() as connection:
        connection.execute(f"copy (select {fingerprints} from '{files}/usage/*.parquet') to '{out}' (format parquet)")


if __name__ == "__main__":
    program(run)
