"""`python -m benchmarks.reasons [--json]`: whether the churn model's reasons hold, on a simulated company.

Of the tenth of the test rows with the highest risk, the leading driver is the one that raises it most. Stability: how often a
model fitted on a resample of the training accounts leads with the same driver, beside what two draws with the same shares of
drivers would agree on by chance. Deletion: how far the risk falls where the leading driver's features are set to their medians
over the training rows, beside as many features of other drivers, drawn at random.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.known_truth import FloatArray, KnownCompany, Unmeasurable, simulated
from benchmarks.oracle import NO_CAUSE, plain, positive
from features.catalogue import DRIVERS, catalog
from kunto.console import print_json, watching
from models.explain import driver_totals
from models.outcome import OutcomeModel
from training.dataset import build_dataset
from training.exposure import Plays
from training.fit import fit_outcome
from training.intervals import bootstrap
from training.period import period
from training.rows import Rows
from training.settings import Task, TrainingSettings

ACCOUNTS, MONTHS, SEED = 1_000, 24, 1
DRAWS = 20
#: The drivers that may lead: what is true of every account is no reason.
LEADING = tuple(driver for driver in DRIVERS if driver != NO_CAUSE)
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Told:
    """A booster of churn fitted on `known` (training rows), and the features (rows × features) of the riskiest test rows."""

    known: Rows
    model: OutcomeModel
    risky: pd.DataFrame


def tell(company: KnownCompany, settings: TrainingSettings | None = None) -> Told:
    """Train churn as `kunto train` does before its test; Unmeasurable where the company is too small for that."""
    chosen = settings or TrainingSettings()
    task = Task(outcome="churn", horizon_days=chosen.horizon)
    facts: dict[str, Any] = {"data_until": company.data_until, "settings": chosen}
    data = build_dataset(company.tables, horizons=[task.horizon_days], **facts)
    cut = period(company.tables, data, task, plays=Plays(company.tables), **facts)
    if not cut.fittable():
        raise Unmeasurable(
            "training needs accounts that left and such that stayed, and rows to test: simulate more accounts or months"
        )
    model = fit(cut.known, chosen, data.product_features)
    return Told(cut.known, model, riskiest(model, cut.test.frame))


def fit(rows: Rows, settings: TrainingSettings, product_features: tuple[str, ...]) -> OutcomeModel:
    """The booster of churn."""
    task = Task(outcome="churn", horizon_days=settings.horizon)
    given: dict[str, Any] = {"product_features": product_features, "settings": settings.booster, "seed": settings.seed}
    return fit_outcome(task, "booster", rows, **given).model


def riskiest(model: OutcomeModel, frame: pd.DataFrame) -> pd.DataFrame:
    """The tenth of the rows with the highest risk, at least one."""
    order = np.argsort(-model.probability(frame), kind="stable")
    return frame.iloc[order[: -(-len(frame) // 10)]].reset_index(drop=True)


def leading(model: OutcomeModel, frame: pd.DataFrame) -> Places:
    """Return the place in `LEADING` of the driver that raises each row's risk most (rows,); −1 where none does."""
    totals = driver_totals(model.explain(frame), catalog(model.product_features))
    matrix = np.column_stack([totals.get(driver, np.zeros(len(frame))) for driver in LEADING])
    return np.where(matrix.max(axis=1) > 0, matrix.argmax(axis=1), -1)


def stability(told: Told, settings: TrainingSettings, draws: int, seed: int) -> dict[str, float]:
    """Return `agreement` (share of rows and resamples that lead with the model's driver), `by_chance`, and `beyond_chance`.

    `beyond_chance` = (agreement − by_chance) / (1 − by_chance) (Cohen 1960).
    """

    def again(weight: FloatArray) -> Places:
        rows = told.known.take(np.repeat(np.arange(len(weight)), weight.astype(np.intp)))
        return leading(fit(rows, settings, told.model.product_features), told.risky)

    led = leading(told.model, told.risky)
    found = bootstrap(again, told.known.accounts, len(told.known), draws=draws, seed=seed)
    agreement, chance = float((found == led).mean()), float(np.mean([by_chance(led, each) for each in found]))
    return {"agreement": agreement, "by_chance": chance, "beyond_chance": (agreement - chance) / (1 - chance)}


def by_chance(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return how often two draws agree that hang together in nothing but how often each gives what.

    >>> by_chance([0, 0, 1, 1], [0, 1, 1, 1])
    0.5
    """
    shares = pd.DataFrame(
        {name: pd.Series(np.asarray(each)).value_counts(normalize=True) for name, each in (("a", one), ("b", other))}
    )
    return float((shares["a"] * shares["b"]).sum())


def deletion(told: Told, draws: int, seed: int) -> dict[str, float]:
    """Return mean `risk` of the rows that a driver leads, and how far it falls without it: `fall_leading`, beside `fall_random`.

    `fell`: the share of those rows whose risk falls. `fall_random` is the mean over `draws` choices of as many other features.
    """
    model, led = told.model, leading(told.model, told.risky)
    declared, read = catalog(model.product_features), [name for name in model.inputs if name in told.risky]
    driver = np.array([LEADING.index(declared[name].driver) if declared[name].driver in LEADING else -1 for name in read])
    rows = told.risky.loc[led >= 0, read].reset_index(drop=True)
    own = led[led >= 0, None] == driver
    medians = told.known.frame[read].median()
    risk = model.probability(rows)
    fall = risk - model.probability(rows.mask(own, medians, axis=1))
    rng = np.random.default_rng(seed)
    others = [risk - model.probability(rows.mask(_as_many(own, rng), medians, axis=1)) for _ in range(draws)]
    return {
        "rows": len(rows),
        "risk": float(risk.mean()),
        "fall_leading": float(fall.mean()),
        "fall_random": float(np.mean(others)),
        "fell": float((fall > 0).mean()),
    }


def _as_many(own: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """In each row as many columns as are its own, drawn from those that are not (or all of these, where they are fewer)."""
    lots = np.where(own, np.inf, rng.random(own.shape))
    return ~own & (lots.argsort(axis=1).argsort(axis=1) < own.sum(axis=1, keepdims=True))


def measure(accounts: int, months: int, seed: int, draws: int) -> dict[str, Any]:
    """Simulate one company and return every figure; Unmeasurable where it is too small."""
    settings = TrainingSettings()
    with simulated(accounts, months, seed) as company:
        told = tell(company, settings)
    figures = stability(told, settings, draws, seed) | deletion(told, draws, seed)
    return {"accounts": accounts, "months": months, "seed": seed, "draws": draws} | figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures: a line each, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=positive, default=ACCOUNTS, help=f"how many there ever are; default: {ACCOUNTS}")
    parser.add_argument("--months", type=positive, default=MONTHS, help=f"of history; default: {MONTHS}")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    parser.add_argument(
        "--draws", type=positive, default=DRAWS, help=f"resamples, and choices of other features; default: {DRAWS}"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        with watching() as watch:
            watch.stage(f"seed {asked.seed}: simulation, training, {asked.draws} resamples")
            found = measure(asked.accounts, asked.months, asked.seed, asked.draws)
    except Unmeasurable as error:
        sys.exit(str(error))
    if asked.json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name:16} {plain(value)}")


if __name__ == "__main__":
    main()
