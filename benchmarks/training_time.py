"""`python -m benchmarks.training_time [--json]`: how long it takes to train every outcome, by step.

One simulated company of about 100,000 account-snapshots; features are built before, and timed apart. What is timed is all that
`kunto train` does for a model: cutting in time, booster and logistic regression cross-fitted and calibrated, the test with its
intervals, the gate, the refit and the profile. Not MLflow's own storing.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.known_truth import simulated
from training.dataset import build_dataset
from training.exposure import Plays
from training.leaks import audit
from training.period import period
from training.settings import TrainingSettings, tasks
from training.train import train_period

ACCOUNTS, MONTHS, SEED = 10_000, 24, 1
SNAPSHOTS = 100_000


def rows(accounts: int, months: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield {row, seconds, snapshots, peak_mib}: features, leak audit, each model, and at last all but the features."""
    settings, spent = TrainingSettings(), 0.0

    def timed(row: str, began: float) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return {"row": row, "seconds": time.perf_counter() - began, "snapshots": len(data.spine), "peak_mib": peak}

    with simulated(accounts, months, seed) as company:
        chosen = tasks(settings, money=True, horizon_given=False)
        facts: dict[str, Any] = {"data_until": company.data_until, "settings": settings}
        began = time.perf_counter()
        data = build_dataset(company.tables, horizons=[task.horizon_days for task in chosen], **facts)
        yield timed("features", began)
        began, plays = time.perf_counter(), Plays(company.tables)
        cuts = {task: period(company.tables, data, task, plays=plays, **facts) for task in chosen}
        audit(company.tables, data, {task: cut.known.labelled() for task, cut in cuts.items()}, **facts)
        found = timed("cut in time and leak audit", began)
        spent += found["seconds"]
        yield found
        for task in chosen:
            began = time.perf_counter()
            train_period(data, task, cuts.pop(task), settings=settings)
            found = timed(task.name, began)
            spent += found["seconds"]
            yield found
        for_so_many = spent * SNAPSHOTS / len(data.spine)
        yield found | {"row": f"all outcomes, for {SNAPSHOTS:,} snapshots", "seconds": for_so_many}


def main() -> None:
    """Print each row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--months", type=int, default=MONTHS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    found = []
    for row in rows(options.accounts, options.months, options.seed):
        found.append(row)
        line = f"{row['row']:40} {row['seconds']:7.1f} s  {row['snapshots']:,} snapshots  {row['peak_mib']:,} MiB at most so far"
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
