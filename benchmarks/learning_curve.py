"""`python -m benchmarks.learning_curve [--json]`: log loss by how many accounts a model learns from.

One simulated company; of its accounts so many are drawn, everything is fitted on their rows of the training period, and asked
about the same later rows of everybody. Beside ours: LightGBM as it comes, logistic regression, and the health score through a
logistic fit, the last two calibrated as ours is. Draws on which fewer than five accounts left are drawn again: the gate would
say that there is not enough evidence.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.known_truth import simulated
from training import metrics
from training.dataset import Dataset, build_dataset
from training.exposure import Plays
from training.fit import fit_outcome
from training.gate import ENOUGH
from training.peers import lightgbm
from training.period import Period, period
from training.settings import Task, TrainingSettings
from training.train import baseline_probabilities

ACCOUNTS, MONTHS, SEED = 10_000, 24, 1
#: Accounts, and how often so many are drawn.
SIZES = {50: 20, 100: 20, 300: 20, 1_000: 5, 3_000: 3, 10_000: 1}
TASK = Task(outcome="churn", horizon_days=90)
#: Test rows that every model is asked about.
ASKED = 8_000
MODELS = ("ours", "lightgbm", "logistic", "health")


def draws(cut: Period, size: int, count: int, seed: int = 100) -> Iterator[Period]:
    """Yield periods whose training rows are those of `size` accounts, or of all if they are fewer; five of them left at least."""
    known = cut.known
    accounts, found = np.unique(known.accounts.astype(str)), 0
    size = min(size, len(accounts))
    while found < count:
        kept = np.isin(known.accounts.astype(str), np.random.default_rng(seed).choice(accounts, size, replace=False))
        part, seed = known.take(kept), seed + 1
        if part.positive_accounts() >= ENOUGH:
            found += 1
            yield replace(cut, known=part, known_at=cut.known_at[kept])


def losses(data: Dataset, cut: Period, settings: TrainingSettings) -> dict[str, float]:
    """Log loss (nats a row) of each model on the test rows, fitted on the known rows."""
    given: dict[str, Any] = {"product_features": data.product_features, "settings": settings.booster, "seed": settings.seed}
    ours, logistic = (
        fit_outcome(TASK, kind, cut.known, **given).model.probability(cut.test.frame) for kind in ("booster", "logistic")
    )
    p = {
        "ours": ours,
        "lightgbm": lightgbm(cut.known.labelled(), cut.test.frame, seed=settings.seed),
        "logistic": logistic,
        "health": baseline_probabilities(data, cut)["health_score"],
    }
    return {name: metrics.log_loss(cut.test.y, each) for name, each in p.items()}


def rows(data: Dataset, cut: Period, sizes: dict[int, int], settings: TrainingSettings) -> Iterator[dict[str, Any]]:
    """Yield a row per number of accounts: mean losses, and `worst`, by how much ours was ever behind the better of two."""
    chosen = np.random.default_rng(0).choice(len(cut.test), min(ASKED, len(cut.test)), replace=False)
    some = np.sort(chosen)
    cut = replace(cut, test=cut.test.take(some), test_at=cut.test_at[some])
    for size, count in sizes.items():
        parts = list(draws(cut, size, count))
        found = pd.DataFrame([losses(data, part, settings) for part in parts])
        behind = found["ours"] - found[["logistic", "health"]].min(axis=1)
        means = {name: float(found[name].mean()) for name in MODELS}
        accounts = len(set(parts[0].known.accounts))
        yield {"accounts": accounts, "draws": count} | means | {"worst": float(behind.max())}


def main() -> None:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help=f"of {', '.join(map(str, SIZES))}")
    options = parser.parse_args()
    settings, sizes = TrainingSettings(outcomes=("churn",)), {size: SIZES[size] for size in options.sizes}
    with simulated(options.accounts, MONTHS, options.seed) as company:
        facts: dict[str, Any] = {"data_until": company.data_until, "settings": settings}
        data = build_dataset(company.tables, horizons=[TASK.horizon_days], **facts)
        cut = period(company.tables, data, TASK, plays=Plays(company.tables), **facts)
        found = []
        for row in rows(data, cut, sizes, settings):
            found.append(row)
            told = "  ".join(f"{name} {row[name]:.4f}" for name in MODELS)
            line = f"{row['accounts']:6,} accounts × {row['draws']:2} draws:  {told}  worst behind {row['worst']:+.4f}"
            print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
