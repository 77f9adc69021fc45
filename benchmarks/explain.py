"""`python -m benchmarks.explain [--json]`: SHAP values of a portfolio and of one account, beside the libraries that give them.

The accounts are drawn: every feature of the catalogue by its unit, a third of them with gaps; the churn model is fitted on some
of them with the default settings. Everybody explains the same booster in one process, in turn, as often as `--repeats` says; the
best time counts, and in a batch it holds whatever a library prepares first. Ours checks every row of a batch against its margin,
which scoring knows by then; one row of the table is of who predicts it first. Ratios: how many times faster ours is.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from woodelf import WoodelfExplainer  # type: ignore[import-untyped]

from benchmarks.memory import peak_mib, reset_peak
from benchmarks.oracle import positive
from benchmarks.ratios import print_ratios
from features.catalogue import Feature, catalog
from kunto.console import Watch, print_json, watching
from models.booster import BoosterModel, BoosterSettings
from models.hazard import CURVE_DAYS, STEP, STEP_COLUMNS, at_step
from models.matrix import FloatArray, Matrix
from models.outcome import OutcomeModel
from training.fit import fit_outcome
from training.rows import Rows
from training.settings import Task

with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)  # what shap uses of matplotlib
    import shap  # type: ignore[import-untyped]

ACCOUNTS, FITTED, REPEATS, SEED = 100_000, 6_000, 2, 0
SINGLE_CALLS = 200
FIRST = "shap.TreeExplainer"
DEFAULTS = BoosterSettings()
TASK = Task(outcome="churn", horizon_days=90)
_AS_OF = pd.Timestamp("2026-01-01")

#: Explains the rows that it is about, of a booster that nobody has prepared.
Explain = Callable[[BoosterModel], FloatArray]


@dataclass(frozen=True)
class Timed:
    """The time of one contender, the most memory that the process held meanwhile, and the values that it gave."""

    seconds: float
    peak_mib: float
    values: FloatArray


def measure(accounts: int, fitted: int, repeats: int, watch: Watch, settings: BoosterSettings) -> list[dict[str, Any]]:
    """Return rows {row, ours, peer, ratio, peak_mib, peer_peak_mib, largest_difference}; ratio > 1 = ours is better."""
    watch.stage("accounts and model")
    frame = draw(accounts, SEED)
    churn = fit(frame.iloc[:fitted], settings)
    booster = churn.scorer
    if not isinstance(booster, BoosterModel):
        raise TypeError(f"the churn model is served by {churn.served_by}, not by a booster")
    steps = [_at(frame, churn, step) for step in range(TASK.horizon_days // churn.step_days)]
    batch, size = steps[0], f"{accounts:,} accounts"
    watch.stage(size)
    margins = booster.raw_score(Matrix(booster.columns, batch))
    contenders = [_ours(batch, margins), *(peer(batch) for peer in PEERS.values()), _ours(batch), _predicting(batch)]
    ours, *others, checked, predicted = side_by_side(contenders, booster, repeats)
    found = [_row(f"{size}, seconds, {name}", ours, other) for name, other in zip(PEERS, others, strict=True)]
    found.append(_row(f"{size}, predicted and explained, seconds, {FIRST}", checked, predicted))
    watch.stage(f"{size} at every step")
    names, contenders = _of_churn(churn, frame, steps)
    whole, other = side_by_side(contenders, booster, 1)
    other = replace(other, values=_by_feature(other.values, booster.columns, names))
    found.append(_row(f"{size}, churn over its {len(steps)} steps, seconds, {FIRST}", whole, other))
    watch.stage("one account")
    one, *others = _one_by_one(booster, batch[:1])
    found += [_row(f"1 account, milliseconds, {name}", one, other, 1e3) for name, other in zip(SINGLE, others, strict=True)]
    return found


def _row(name: str, ours: Timed, peer: Timed, unit: float = 1.0) -> dict[str, Any]:
    return {
        "row": name,
        "ours": ours.seconds * unit,
        "peer": peer.seconds * unit,
        "ratio": peer.seconds / ours.seconds,
        "peak_mib": ours.peak_mib,
        "peer_peak_mib": peer.peak_mib,
        "largest_difference": float(np.abs(ours.values - peer.values).max()),
    }


def draw(accounts: int, seed: int) -> pd.DataFrame:
    """Return drawn features (accounts × catalogue), NaN where nothing is known.

    >>> draw(4, 0).shape == (4, len(catalog()))
    True
    """
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(len(catalog())) < 1 / 3, rng.uniform(0, 0.9, len(catalog())), 0.0)
    columns = {}
    for (name, feature), gap in zip(catalog().items(), gaps, strict=True):
        columns[name] = np.where(rng.random(accounts) < gap, np.nan, _values(feature, accounts, rng))
    return pd.DataFrame(columns)


def _values(feature: Feature, rows: int, rng: np.random.Generator) -> FloatArray:
    match feature.unit:
        case "0/1":
            return (rng.random(rows) < 0.3).astype(np.float64)
        case "share":
            return rng.beta(1, 2, rows)
        case "−1…1":
            return rng.uniform(-1, 1, rows)
        case "log ratio":
            return rng.normal(0, 0.5, rows)
        case "days" | "hours" | "days late":
            return rng.exponential(90, rows)
        case "months":
            return rng.choice([1.0, 12.0, 36.0], rows)
        case "money a month" | "value":
            return rng.lognormal(6, 1, rows)
        case _:
            return rng.poisson(rng.exponential(4, rows)).astype(np.float64)


def fit(frame: pd.DataFrame, settings: BoosterSettings) -> OutcomeModel:
    """Fit churn on accounts that leave by a law of every fifth feature, and at most after a year."""
    rng = np.random.default_rng(SEED)
    ranks = frame.iloc[:, ::5].rank(pct=True).fillna(0.5).to_numpy() - 0.5
    weights = rng.normal(0, 1.5, ranks.shape[1])
    hazard = 0.06 * np.exp(ranks @ weights + ranks[:, 0] * ranks[:, 1] * 4)
    days = np.minimum(rng.exponential(TASK.horizon_days / hazard), 3_600).round(3)
    leaves = pd.Series(_AS_OF + pd.to_timedelta(days, unit="D")).astype("datetime64[us]")
    known_until = _AS_OF + pd.Timedelta(days=CURVE_DAYS)
    timeline = pd.DataFrame(
        {
            "account_id": [f"a{number}" for number in range(len(frame))],
            "as_of": _AS_OF,
            "churn_at": leaves.where(leaves < known_until),
            "known_until": known_until,
        }
    )
    y = (days < TASK.horizon_days).astype(np.float64)
    model = fit_outcome(TASK, "booster", Rows(frame, timeline, y, np.zeros(len(frame))), settings=settings).model
    assert isinstance(model.scorer, BoosterModel)
    # Trees alone are what the others explain: a prior, from which a few accounts would start, is left out.
    return replace(model, scorer=replace(model.scorer, prior=None))


def _at(frame: pd.DataFrame, churn: OutcomeModel, step: int) -> FloatArray:
    return at_step(frame, step, churn.step_days)[list(churn.scorer.columns)].to_numpy(dtype=np.float64)


def _ours(values: FloatArray, margins: FloatArray | None = None) -> Explain:
    return lambda model: model.addends(Matrix(model.columns, values), margins)


def _tree_explainer(values: FloatArray) -> Explain:
    return lambda model: _shap(model)(values)


def _shap(model: BoosterModel) -> Callable[[FloatArray], FloatArray]:
    explainer = shap.TreeExplainer(model.booster, feature_perturbation="tree_path_dependent")
    return lambda values: np.asarray(explainer(values).values)


def _predicting(values: FloatArray) -> Explain:
    def explain(model: BoosterModel) -> FloatArray:
        model.raw_score(Matrix(model.columns, values))
        return _shap(model)(values)

    return explain


def _pred_contrib(values: FloatArray) -> Explain:
    return lambda model: np.asarray(model.booster.predict(values, pred_contrib=True))[:, :-1]


def _woodelf(values: FloatArray) -> Explain:
    def explain(model: BoosterModel) -> FloatArray:
        frame = pd.DataFrame(values, columns=list(model.columns))
        return np.asarray(WoodelfExplainer(model.booster).shap_values(frame, verbose=False), dtype=np.float64)

    return explain


PEERS: dict[str, Callable[[FloatArray], Explain]] = {
    FIRST: _tree_explainer,
    "LightGBM pred_contrib": _pred_contrib,
    "woodelf": _woodelf,
}
#: Who explains one account at a time; woodelf is not made for it.
SINGLE = (FIRST, "LightGBM pred_contrib")


def side_by_side(contenders: Sequence[Explain], model: BoosterModel, repeats: int) -> list[Timed]:
    """Let each explain in turn, `repeats` times, a fresh booster each time; the best time of each counts."""
    rounds = [[_timed(explain, model) for explain in contenders] for _ in range(repeats)]
    return [min(of_one, key=lambda timed: timed.seconds) for of_one in zip(*rounds, strict=True)]


def _timed(explain: Explain, model: BoosterModel) -> Timed:
    fresh = BoosterModel(model.columns, model.text)
    fresh.booster.num_trees()  # reads its text, which is no part of explaining
    reset_peak()
    began = time.perf_counter()
    found = explain(fresh)
    return Timed(time.perf_counter() - began, peak_mib(), found)


def _of_churn(churn: OutcomeModel, frame: pd.DataFrame, steps: Sequence[FloatArray]) -> tuple[Sequence[str], list[Explain]]:
    """The features explained, and who explains: ours from the features on; the peer is given the rows of each step ready-made."""
    table = Matrix.of(frame)
    margins = churn.margins(table, len(steps))

    def ours(model: BoosterModel) -> FloatArray:
        return np.asarray(replace(churn, scorer=model).explain(table, margins).contributions.values)

    def theirs(model: BoosterModel) -> FloatArray:
        explain = _shap(model)
        return np.asarray(sum(explain(values) for values in steps) / len(steps))

    explained = churn.explain(frame.iloc[:1]).contributions
    return tuple(explained.columns) if isinstance(explained, pd.DataFrame) else explained.names, [ours, theirs]


def _by_feature(values: FloatArray, columns: Sequence[str], names: Sequence[str]) -> FloatArray:
    """Sum what is of one feature: what a step carries forward counts as what it was carried of (`OutcomeModel.explain`)."""
    named = pd.DataFrame(values, columns=list(columns)).drop(columns=STEP, errors="ignore").rename(columns=STEP_COLUMNS)
    return named.T.groupby(level=0).sum().T[list(names)].to_numpy()


def _one_by_one(model: BoosterModel, values: FloatArray) -> list[Timed]:
    """The median of many calls, each with one row: ours, and everybody of `SINGLE`, with what can be prepared prepared."""
    explain = _shap(model)
    contenders = [lambda: _ours(values)(model), lambda: explain(values), lambda: _pred_contrib(values)(model)]
    found = []
    for contender in contenders:
        seconds = []
        for _ in range(SINGLE_CALLS):
            began = time.perf_counter()
            explained = contender()
            seconds.append(time.perf_counter() - began)
        found.append(Timed(statistics.median(seconds), peak_mib(), explained))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=positive, default=ACCOUNTS, help=f"default: {ACCOUNTS}")
    parser.add_argument(
        "--fitted", type=positive, default=FITTED, help=f"accounts that the model is fitted on; default: {FITTED}"
    )
    parser.add_argument("--repeats", type=positive, default=REPEATS, help=f"default: {REPEATS}")
    parser.add_argument(
        "--rounds", type=positive, default=DEFAULTS.rounds, help=f"trees of the model at most; default: {DEFAULTS.rounds}"
    )
    parser.add_argument("--leaves", type=positive, default=DEFAULTS.num_leaves, help=f"of a tree; default: {DEFAULTS.num_leaves}")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with watching() as watch:
        settings = BoosterSettings(rounds=asked.rounds, num_leaves=asked.leaves)
        rows = measure(asked.accounts, asked.fitted, asked.repeats, watch, settings)
    if asked.json:
        print_json(rows)
        return
    print_ratios("Explaining beside the libraries", rows, lambda row: f"{row['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
