"""`python -m benchmarks.flat_table [--json] [--repeats 5] [--tuned]`: our booster on a table without time, mlc_churn.

5,000 customers of a telephone company, one row each. Repeated stratified cross-validation: every row is held out once a repeat.
Nothing is set by hand: the default settings, no directions, all rows, and as many rounds as four folds of the training part say.
Beside it, on the same folds: LightGBM as it comes, and logistic regression. Text (state, area code, plans) is read by the two
boosters as the number of its value in sorted order, by the logistic regression as one column for each value. With --tuned one
repeat only, in which settings are searched within each training part, too. Either takes about a minute.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from rich.table import Table
from scipy.special import expit
from sklearn.model_selection import StratifiedKFold

from benchmarks.oracle import positive
from benchmarks.real_data import DATA
from kunto.console import out, print_json, watching
from models import linear
from models.booster import BoosterSettings, cross_fit, fit_booster
from training import metrics, peers
from training.fit import usable_columns
from training.rows import FloatArray, Positions, Rows
from training.tuning import search_space

FILE = DATA / "mlc_churn" / "mlc_churn.parquet"
LABEL, LEAVES = "churn", "yes"
REPEATS, FOLDS, INNER_FOLDS = 5, 5, 4
TRIALS = 8
OURS = "booster"


@dataclass(frozen=True)
class Flat:
    """A table without time, a row each: features for boosters, the same for a logistic regression, 0/1 labels (rows,)."""

    coded: pd.DataFrame
    one_hot: pd.DataFrame
    y: FloatArray


def flat(table: pd.DataFrame, label: str, outcome: str) -> Flat:
    """Return the features and labels of a table: 1 where `label` is `outcome`; every other column is a feature.

    >>> found = flat(pd.DataFrame({"plan": ["pro", "basic"], "seats": [5, 2], "left": ["no", "yes"]}), "left", "yes")
    >>> found.coded.to_numpy().tolist(), list(found.one_hot), found.y.tolist()
    ([[1.0, 5.0], [0.0, 2.0]], ['seats', 'plan_basic', 'plan_pro'], [0.0, 1.0])
    """
    features = table.drop(columns=label)
    text = [str(name) for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    coded = features.copy()
    for name in text:
        codes, _ = pd.factorize(features[name].astype(object), sort=True)
        coded[name] = np.where(codes < 0, np.nan, codes)
    one_hot = pd.get_dummies(features, columns=text)
    return Flat(coded.astype(np.float64), one_hot.astype(np.float64), np.asarray(table[label] == outcome, dtype=np.float64))


def booster(known: Rows, asked: pd.DataFrame, *, seed: int, settings: BoosterSettings | None = None) -> FloatArray:
    """Return P(y = 1) of the rows of `asked` by our booster, with the rounds that folds of the training part find."""
    inner = _folds(known.y, INNER_FOLDS, seed)
    parts, _ = cross_fit(known.frame, known.y, inner, directions={}, settings=settings, seed=seed)
    model = fit_booster(known.frame, known.y, directions={}, settings=settings, rounds=parts[0].rounds, seed=seed)
    return expit(model.raw_score(asked))


def booster_tuned(known: Rows, asked: pd.DataFrame, *, seed: int, trials: int = TRIALS) -> FloatArray:
    """As `booster`, by the settings of the trial with the least loss on folds of the training part; trial 0: the defaults."""
    settings, inner = BoosterSettings(), _folds(known.y, INNER_FOLDS, seed)
    space = search_space(settings)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: getattr(settings, name) for name in space})
    for _ in range(trials):
        trial = study.ask(space)
        tried = settings.model_copy(update=trial.params)
        study.tell(trial, cross_fit(known.frame, known.y, inner, directions={}, settings=tried, seed=seed)[1])
    return booster(known, asked, seed=seed, settings=settings.model_copy(update=study.best_params))


def logistic(known: Rows, asked: pd.DataFrame, **_: int) -> FloatArray:
    """Return P(y = 1) of the rows of `asked` by the logistic regression of the baselines, which no seed changes."""
    return linear.fit(known.frame, known.y, columns=usable_columns(known.frame)).predict(asked)


MODELS: Mapping[str, Callable[..., FloatArray]] = {OURS: booster, "lightgbm": peers.lightgbm, "logistic": logistic}


def measure(
    table: Flat, *, repeats: int, tuned: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Return `auc` of each model and `ahead`: how much more the booster has than each of the others on the same folds.

    Each is a mean over all folds, with the standard deviation of the repeats' means (None with one) and those means.
    """
    models = dict(MODELS) | ({"booster_tuned": booster_tuned} if tuned else {})
    aucs = {name: np.empty((repeats, FOLDS)) for name in models}
    for repeat in range(repeats):
        for fold, (kept, held) in enumerate(_folds(table.y, FOLDS, repeat)):
            for name, fit in models.items():
                frame = table.one_hot if name == "logistic" else table.coded
                score = fit(_rows(frame.iloc[kept], table.y[kept]), frame.iloc[held], seed=repeat)
                aucs[name][repeat, fold] = metrics.auc(table.y[held], score)
            progress(repeat * FOLDS + fold + 1, repeats * FOLDS)
    by_repeat = {name: each.mean(axis=1) for name, each in aucs.items()}
    return {
        "rows": len(table.y),
        "positives": int(table.y.sum()),
        "repeats": repeats,
        "folds": FOLDS,
        "auc": {name: _summary(means) for name, means in by_repeat.items()},
        "ahead": {name: _summary(by_repeat[OURS] - means) for name, means in by_repeat.items() if name != OURS},
    }


def _folds(y: FloatArray, parts: int, seed: int) -> list[tuple[Positions, Positions]]:
    return list(StratifiedKFold(parts, shuffle=True, random_state=seed).split(y, y))


def _rows(frame: pd.DataFrame, y: FloatArray) -> Rows:
    """Rows of no time and of no account: what is fitted here asks for neither."""
    return Rows(frame, pd.DataFrame(index=frame.index), y, np.zeros(len(y)))


def _summary(by_repeat: FloatArray) -> dict[str, Any]:
    """The mean of the repeats' figures, their standard deviation, and they themselves."""
    spread = float(by_repeat.std(ddof=1)) if len(by_repeat) > 1 else None
    return {"mean": float(by_repeat.mean()), "sd": spread, "by_repeat": by_repeat.tolist()}


def told(found: Mapping[str, Any]) -> Table:
    """Return the table for people: each model's AUC, and by how much the booster is ahead of it."""

    def cell(figure: Mapping[str, Any] | None, form: str) -> str:
        if figure is None:
            return ""
        return f"{figure['mean']:{form}}" + ("" if figure["sd"] is None else f" ± {figure['sd']:.4f}")

    table = Table(title=f"{found['positives']} of {found['rows']} rows, {found['repeats']} × {found['folds']} stratified folds")
    for heading in ("model", "AUC ± SD over repeats", f"{OURS} ahead by"):
        table.add_column(heading)
    for name, figure in found["auc"].items():
        table.add_row(name, cell(figure, ".4f"), cell(found["ahead"].get(name), "+.4f"))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--repeats", type=positive, default=REPEATS, help=f"of {FOLDS} folds; default: {REPEATS}")
    how.add_argument("--tuned", action="store_true", help=f"also {TRIALS} trials of Optuna a fold; one repeat")
    options = parser.parse_args(arguments)
    if not FILE.is_file():
        sys.exit(f"{FILE} is not there: these figures need the data sets beside the project")
    with watching() as watch:
        watch.stage("mlc_churn")
        repeats = 1 if options.tuned else options.repeats
        found = measure(flat(pd.read_parquet(FILE), LABEL, LEAVES), repeats=repeats, tuned=options.tuned, progress=watch.advance)
    if options.json:
        print_json({"row": "mlc_churn"} | found)
    else:
        out.print(told(found))


if __name__ == "__main__":
    main()
