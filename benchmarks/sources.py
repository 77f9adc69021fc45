"""`python -m benchmarks.sources [--json]`: what each source table is worth, on a simulated company whose truth is known.

The measurement of benchmarks.oracle with each optional table not connected in turn, beside all of them and none of them. Nothing
is kept from one row to the next: features, model, reasons and health score are made anew from the tables that are left, as the
product does where a table was never connected.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from benchmarks.known_truth import Judged, KnownCompany, Unmeasurable, judge, simulated
from benchmarks.oracle import caused, markdown, measured, positive
from features.contract import REQUIRED_TABLES
from kunto.console import Watch, print_json, watching
from training.paired import paired

#: Fewer accounts than the oracle's: everything is built and trained once per table.
ACCOUNTS, MONTHS, SEED = 3_000, 24, 1
FULL, BARE = "all tables", f"only {' and '.join(REQUIRED_TABLES)}"
FIGURES = ("auc", "skill", "average_precision", "cause_hit_rate", "health_auc", "health_coverage")
DRAWS = 500


def measure(company: KnownCompany, watch: Watch) -> list[dict[str, Any]]:
    """Return one row per set of tables: row, off (not connected), model, `FIGURES`, and `loss`: each figure's fall against all.

    `auc_loss_low` and `auc_loss_high` are the 95 % percentile interval of the AUC's fall over resamples of the accounts:
    where it holds 0, the fall may be chance.
    """
    optional = [name for name in company.tables if name not in REQUIRED_TABLES]
    sets: dict[str, list[str]] = {FULL: []} | {f"without {name}": [name] for name in optional} | {BARE: optional}
    found: list[dict[str, Any]] = []
    full: Judged | None = None
    for row, off in sets.items():
        left = {name: table for name, table in company.tables.items() if name not in off}
        one = _judge(company, left, row, watch)
        full = full or one
        every = measured(one) | caused(one, company.departures)
        figures = {name: every[name] for name in FIGURES}
        first = found[0] if found else figures
        loss = {name: None if None in (value, first[name]) else first[name] - value for name, value in figures.items()}
        low, high = auc_loss_interval(full.y, full.rows["account_id"], full.p, one.p)
        interval = {"auc_loss_low": low, "auc_loss_high": high}
        found.append({"row": row, "off": off, "model": every["model"]} | figures | {"loss": loss} | interval)
    return found


def _judge(company: KnownCompany, left: Mapping[str, Any], row: str, watch: Watch) -> Judged:
    return judge(company, left, stage=lambda name: watch.stage(f"{row}: {name}"), progress=watch.advance)


def auc_loss_interval(y: npt.ArrayLike, accounts: npt.ArrayLike, full: npt.ArrayLike, less: npt.ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of AUC(full) − AUC(less) over resamples of the accounts; all (rows,), in one order.

    Who is at risk, and when, hangs on the required tables alone, so every set of tables has the same test rows.

    >>> auc_loss_interval([0, 1, 0, 1], ["a", "b", "c", "d"], [0.1, 0.9, 0.2, 0.8], [0.1, 0.9, 0.2, 0.8])
    (0.0, 0.0)
    """
    found = paired("auc", y, full, less, accounts, draws=DRAWS, seed=0)
    return found["low"], found["high"]


def as_markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for people: every figure, and how much AUC is lost, with its interval."""
    rows = []
    for one in found:
        lost = f"{one['loss']['auc']:+.3f} ({one['auc_loss_low']:+.3f} to {one['auc_loss_high']:+.3f})" if one["off"] else ""
        rows.append([one["row"], one["model"], one["auc"], lost, *(one[name] for name in FIGURES[1:])])
    return markdown(["connected", "model", "auc", "auc lost (95 %)", *FIGURES[1:]], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=positive, default=ACCOUNTS)
    parser.add_argument("--months", type=positive, default=MONTHS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        with watching() as watch:
            watch.stage("simulation")
            with simulated(options.accounts, options.months, options.seed) as company:
                found = measure(company, watch)
    except Unmeasurable as error:
        sys.exit(str(error))
    if options.json:
        print_json(found)
    else:
        print(as_markdown(found))


if __name__ == "__main__":
    main()
