"""Rolling a history up into a folder, month by month. `python -m benchmarks.feature_peers.kept FILES SPINE OUT`."""

from pathlib import Path

from benchmarks.feature_peers.program import program
from features.rollup_store import RollupStore


def run(files: Path, spine: Path, out: Path) -> None:  # noqa: ARG001
    """Keep the rollups of all files in the folder `out`, which is new."""
    names = {path.name: path for path in sorted((files / "usage").glob("*.parquet"))}
    RollupStore(out).update(names)


if __name__ == "__main__":
    program(run)
