"""`python -m benchmarks.features [--events N] [--json]`: a backfill of features beside pandas, Polars, DuckDB SQL, featuretools.

Simulated events in monthly Parquet files, every account at every month's first. Each way to build features is a program of its
own (benchmarks/feature_peers), so that its time and its peak of memory are its own; imports are not timed, reading and writing
are. Ours computes the whole catalogue, the others only what its usage part counts; the catalogue's expressions over their counts
must give what ours gave. featuretools gets slices of the accounts: what more accounts add to its time, not what it starts with,
is scaled up to all of them. Ratios: how many times faster ours is.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.feature_agreement import largest_difference
from benchmarks.feature_events import ACCOUNTS, EVENTS, night, write_events, write_spine
from benchmarks.feature_peers.environment import interpreter, run_program
from benchmarks.oracle import positive
from benchmarks.ratios import print_ratios
from kunto.console import Watch, err, print_json, watching

LARGE, SLICE = 200_000_000, 500
NIGHT_EVENTS = 70_000
#: How many times fewer accounts the smaller slice has.
FEWER = 5
#: How many times less has happened where a night is timed for comparison.
LESS = 10
#: The limit that is asked of one account's features, in milliseconds.
ON_DEMAND_MS = 150.0
#: Name of a peer → the library that its module `with_…` needs; those of `SLICED` get a slice of the accounts.
PEERS = {"DuckDB SQL": "duckdb", "pandas": "pandas", "Polars": "polars", "featuretools": "featuretools"}
SLICED = ("featuretools",)


@dataclass(frozen=True)
class Timed:
    """What a program took, the most memory it held, and the file that it wrote."""

    seconds: float
    peak_mib: float
    wrote: Path


@dataclass(frozen=True)
class Company:
    """Simulated files (usage/, accounts.parquet, subscriptions.parquet), the spine, and a folder for what is computed."""

    files: Path
    spine: Path
    scratch: Path


def measure(events: int, large: int, accounts: int, sliced: int, folder: Path, watch: Watch) -> list[dict[str, Any]]:
    """Return rows {row, ours, peer, ratio, peak_mib, peer_peak_mib, difference, differs_most}; ratio > 1 = ours is better."""
    watch.stage(f"{events:,} events")
    company = simulated(folder, events, accounts)
    size = f"backfill of {events:,} events, seconds"
    watch.stage("a plain scan")
    timed("scan", company)  # so that nobody's files come from a cold disk
    scanned = timed("scan", company)
    watch.stage("ours")
    ours = timed("ours", company)
    found = [_row(f"{size}, a plain DuckDB scan", ours, scanned)]
    for name, library in PEERS.items():
        watch.stage(name)
        python = _interpreter(name, library)
        if python is None:
            continue
        module = f"with_{library}"
        label = f"{size}, {name}"
        if name in SLICED:
            many = min(sliced, accounts)
            few = max(many // FEWER, 1)
            less, peer = (timed(module, slice_of(company, count), python) for count in (few, many))
            label += f" (scaled up from {few:,} and {many:,} accounts)"
            seconds = scaled(few, less.seconds, many, peer.seconds, accounts)
        else:
            peer = timed(module, company, python)
            seconds = peer.seconds
        worst, apart = largest_difference(ours.wrote, peer.wrote, company.files / "subscriptions.parquet")
        row = _row(label, ours, replace(peer, seconds=seconds))
        found.append(row | {"difference": apart, "differs_most": worst})
    found += _nights(company, events, accounts, watch)
    if large:
        watch.stage(f"{large:,} events")
        with _temporary(folder) as place:
            larger = timed("ours", simulated(place, large, accounts))
        linear = replace(ours, seconds=ours.seconds * large / events)
        found.append(_row(f"backfill of {large:,} events, seconds, {large / events:g} times the {events:,}", larger, linear))
    return found


def simulated(folder: Path, events: int, accounts: int) -> Company:
    """Write so many events, and the spine of the last 21 month firsts, into a folder; what is there already is used again."""
    files, spine = folder / f"{accounts}-{events}", folder / f"spine-{accounts}.parquet"
    if not files.exists():
        part = folder / "part"
        write_events(part, events, accounts)
        part.rename(files)
    write_spine(spine, accounts)
    scratch = folder / "computed"
    scratch.mkdir(exist_ok=True)
    return Company(files, spine, scratch)


def slice_of(company: Company, accounts: int) -> Company:
    """A drawn part of the accounts, with their events and their rows of the spine."""
    place = company.scratch / "slice"
    (place / "usage").mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        chosen = f"select account_id from '{company.files}/accounts.parquet' order by hash(account_id) limit {accounts}"
        connection.execute(f"create table chosen as {chosen}")
        for source, to in ((f"{company.files}/usage/*.parquet", "usage/all.parquet"), (str(company.spine), "spine.parquet")):
            connection.execute(f"copy (select * from '{source}' where account_id in (from chosen)) to '{place / to}'")
    return Company(place, place / "spine.parquet", company.scratch)


def scaled(few: int, less: float, many: int, more: float, accounts: int) -> float:
    """Seconds of `accounts`, on the straight line through those of `few` and of `many`; through the origin if that is less steep.

    >>> scaled(100, 15.0, 500, 35.0, 20_000)
    1010.0
    """
    slope = max((more - less) / (many - few), 0.0) if many > few else more / many
    return more + min(slope, more / many) * (accounts - many)


def timed(module: str, company: Company, python: Path | None = None) -> Timed:
    """Run `feature_peers.module` over a company as a program, by `python` (None: this one)."""
    wrote = company.scratch / f"{module}.parquet"
    printed = run_program(
        python or Path(sys.executable), f"benchmarks.feature_peers.{module}", company.files, company.spine, wrote
    )
    told = json.loads(printed.splitlines()[-1])
    return Timed(told["seconds"], told["peak_mib"], wrote)


def _nights(company: Company, events: int, accounts: int, watch: Watch) -> Iterator[dict[str, Any]]:
    """The same night on the whole history and on a tenth of it: same accounts and months, a tenth of the rate; one account."""
    watch.stage("a night")
    new = company.scratch / "night.parquet"
    night(new, NIGHT_EVENTS, accounts)
    backfill, whole, one = _kept(company, new)
    with _temporary(company.scratch) as place:
        _, less, _ = _kept(simulated(place, events // LESS, accounts), new)
    yield _row(f"rollups of {events:,} events kept in a folder, seconds, a plain DuckDB scan", backfill, timed("scan", company))
    yield _row(f"a night's {NIGHT_EVENTS:,} on {events:,} events, seconds, on {events // LESS:,}", whole, less)
    asked = replace(one, seconds=ON_DEMAND_MS / 1e3)
    yield _row(f"one account on demand, milliseconds, the {ON_DEMAND_MS:g} asked", one, asked, 1e3)


def _kept(company: Company, new: Path) -> tuple[Timed, Timed, Timed]:
    """Time the keeping of a company's rollups, a night on them, and one account's features after it."""
    with _temporary(company.scratch) as place:
        backfill = timed("kept", replace(company, scratch=place))
        kept = backfill.wrote
        printed = run_program(Path(sys.executable), "benchmarks.feature_peers.nightly", company.files, new, kept)
        told = json.loads(printed.splitlines()[-1])
        peak = told["peak_mib"]
        return backfill, Timed(told["seconds"], peak, kept), Timed(told["account_seconds"], peak, kept)


def _interpreter(name: str, library: str) -> Path | None:
    try:
        return interpreter(library, make=True)
    except subprocess.CalledProcessError:
        err.print(f"{name} is left out: its environment could not be made from requirements-{library}.lock")
        return None


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kunto-bench-", dir=folder) as place:
        yield Path(place)


def _row(name: str, ours: Timed, peer: Timed, unit: float = 1.0) -> dict[str, Any]:
    return {
        "row": name,
        "ours": ours.seconds * unit,
        "peer": peer.seconds * unit,
        "ratio": peer.seconds / ours.seconds,
        "peak_mib": ours.peak_mib,
        "peer_peak_mib": peer.peak_mib,
        "difference": None,
        "differs_most": None,
    }


def _apart(row: Mapping[str, Any]) -> str:
    return "–" if row["difference"] is None else f"{row['difference']:.1e} ({row['differs_most']})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=positive, default=EVENTS, help=f"default: {EVENTS}")
    parser.add_argument("--large", type=int, default=LARGE, help=f"events of the larger backfill, 0: none; default: {LARGE}")
    parser.add_argument("--accounts", type=positive, default=ACCOUNTS, help=f"default: {ACCOUNTS}")
    parser.add_argument("--slice", type=positive, default=SLICE, help=f"accounts of featuretools' slice; default: {SLICE}")
    parser.add_argument("--folder", type=Path, help="keeps the simulated files for another run; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with watching() as watch, tempfile.TemporaryDirectory(prefix="kunto-bench-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(asked.events, asked.large, asked.accounts, asked.slice, folder, watch)
    if asked.json:
        print_json(rows)
        return
    print_ratios("Building features", rows, _apart)


if __name__ == "__main__":
    main()
