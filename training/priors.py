"""What each booster starts from: the health scorecard, or the model of another company that this one brings (domain.md §4)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.hazard import EXPOSURE
from models.outcome import OutcomeModel
from models.prior import Prior, of_scorecard, settle
from models.scorecard import default_scorecard
from training.settings import Task

#: A feature's direction is told for churn; expansion is expected to run against it.
SIGN = {"churn": 1, "contraction": 1, "expansion": -1}
#: Accounts with the outcome from which on their past says more than the scorecard (docs/training.md, the learning curve).
ENOUGH = 200
Bases = Mapping[str, OutcomeModel]


def read_bases(folder: Path) -> dict[str, OutcomeModel]:
    """Read the models that `kunto models --export` wrote, by name; ValueError where there is none, or one is damaged."""
    found = {}
    for place in sorted(each.parent for each in folder.glob("*/model.json")):
        try:
            texts = {path.name: path.read_text(encoding="utf-8") for path in place.iterdir()}
            found[place.name] = OutcomeModel.from_files(texts)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the base model in {place} cannot be read: {error}; export it again") from error
    if not found:
        raise ValueError(f"base is {folder}, which holds no model; give a folder that `kunto models --export` wrote")
    return found


def write_models(models: Bases, folder: Path) -> list[Path]:
    """Write models as texts, a folder each, as `read_bases` reads them; return the folders. They hold no row of an account."""
    for name, model in models.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).iterdir():
            old.unlink()
        for file, text in model.to_files().items():
            (folder / name / file).write_text(text, encoding="utf-8")
    return [folder / name for name in models]


def bases_of(tasks: Iterable[Task], bases: Bases | None, event: str) -> dict[str, OutcomeModel]:
    """Return the base models of these tasks, by name; ValueError where one does not answer what its task asks."""
    found = {task: bases[task.name] for task in tasks if bases and task.name in bases}
    for task, base in found.items():
        _refuse_other_questions(task, base, event)
    return {task.name: base for task, base in found.items()}


def product_features(bases: Bases) -> tuple[str, ...]:
    """Return the product's own features that any of these models reads, sorted."""
    return tuple(sorted({name for base in bases.values() for name in base.product_features}))


def _refuse_other_questions(task: Task, base: OutcomeModel, event: str) -> None:
    asked = {"outcome": task.outcome, "horizon_days": task.horizon_days, "event": event}
    differing = [f"{name} {getattr(base, name)}, not {value}" for name, value in asked.items() if getattr(base, name) != value]
    if differing:
        raise ValueError(f"the base model of {task.name} has {'; '.join(differing)}: bring one that predicts the same, or none")


def with_columns_of(base: OutcomeModel | None, X: pd.DataFrame) -> pd.DataFrame:
    """Return X with what the base model reads and the rows do not know: no play was recorded, so none was begun."""
    return X.assign(**{EXPOSURE: 0.0}) if base and EXPOSURE in base.scorer.columns and EXPOSURE not in X.columns else X


def prior(
    task: Task,
    X: pd.DataFrame,
    y: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    *,
    accounts: npt.NDArray[np.object_],
    base: OutcomeModel | None,
) -> Prior | None:
    """Return the prior of one outcome's examples (rows,): the base model, else below `ENOUGH` accounts with it the scorecard.

    None where there is neither, or one label alone.
    """
    if y.min() == y.max():
        return None
    if base is not None:
        return settle("base", base.scorer, X, y, weight, accounts=len(set(accounts)))
    if len(set(accounts[y > 0])) >= ENOUGH:
        return None
    scorecard = of_scorecard(default_scorecard(), X, sign=SIGN[task.outcome])
    return None if scorecard is None else settle("scorecard", scorecard, X, y, weight, accounts=len(set(accounts)))
