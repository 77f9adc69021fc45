"""What a data scientist would try first, on the rows and features of our own models: EBM, LightGBM as it comes, scorecards.

Each is used as its users use it, and none is left worse off by neglect: the same training rows, all features known at T,
missing values as they are, and probabilities of its own.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from models import health
from models.matrix import FloatArray, Matrix, values_of
from models.scorecard import Scorecard, load_scorecard
from training import baselines
from training.dataset import Dataset
from training.fit import usable_columns
from training.rows import Rows

#: Bags of an EBM. interpret takes 14, whose mean is a little smoother, at three and a half times the cost.
EBM_BAGS = 4
#: Parts of the accounts, one of which stops each bag: a seventh is interpret's own share (15 %).
EBM_PARTS = 7
_SCORECARDS = (Path(__file__).with_name("four_signs.yaml"),)


def lightgbm(known: Rows, asked: pd.DataFrame, *, seed: int = 0) -> FloatArray:
    """Return P(y = 1) of the rows of `asked` by `LGBMClassifier()`, fitted on labelled rows: default parameters, uncalibrated.

    Only what does not touch the model is set: silence, the seed, and one thread, so that equal rows give equal figures.
    """
    columns = tuple(usable_columns(known.frame))
    model = lgb.LGBMClassifier(n_jobs=1, random_state=seed, verbose=-1).fit(values_of(known.frame, columns), known.y)
    return np.asarray(model.predict_proba(values_of(asked, columns))[:, 1], dtype=np.float64)


def ebm(known: Rows, asked: pd.DataFrame, *, seed: int = 0) -> FloatArray:
    """Return P(y = 1) of the rows of `asked` by interpret's `ExplainableBoostingClassifier` (Nori et al. 2019).

    interpret's defaults but for three. Each bag is stopped by accounts that it did not see: rows drawn singly, the default,
    are months of the same accounts, and an EBM stopped by them learns accounts by heart. No interactions: where they were
    tried they doubled the cost and lowered the AUC. Four bags instead of 14. ValueError below two accounts with the outcome.
    """
    # Two seconds, which no other command should wait for.
    from interpret.glassbox import ExplainableBoostingClassifier  # type: ignore[import-untyped]

    columns = tuple(usable_columns(known.frame))
    bags = _account_bags(known, seed)
    model = ExplainableBoostingClassifier(
        feature_types=["continuous"] * len(columns), interactions=0, outer_bags=bags.shape[1], n_jobs=1, random_state=seed
    )
    with warnings.catch_warnings():
        # About its pictures, which nobody draws here.
        warnings.filterwarnings("ignore", message="Missing values detected", category=UserWarning)
        model.fit(values_of(known.frame, columns), known.y, bags=bags)
        return np.asarray(model.predict_proba(values_of(asked, columns))[:, 1], dtype=np.float64)


def _account_bags(known: Rows, seed: int) -> npt.NDArray[np.int8]:
    """Return (rows, bags): 1 where a bag fits on the row, −1 where the row tells it when to stop."""
    parts = min(EBM_PARTS, known.positive_accounts())
    if parts < 2:
        raise ValueError(f"{parts} accounts with the outcome in training; an EBM needs 2 to know when to stop")
    folds = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=seed)
    held = [at for _, at in folds.split(known.y, known.y, known.accounts)][:EBM_BAGS]
    bags = np.ones((len(known.y), len(held)), dtype=np.int8)
    for bag, at in enumerate(held):
        bags[at, bag] = -1
    return bags


def points(card: Scorecard, name: str, data: Dataset, connected: set[str]) -> FloatArray:
    """Return the total of a hand-set scorecard per row of the data (rows,), 0–100, NaN where it has none.

    `connected` are the tables that there are. ValueError where the scorecard names a feature that the catalogue does not have.
    """
    columns = tuple(data.frame.columns)
    leaving = data.facts["leaving"].to_numpy(dtype=bool)
    table = health.inputs_of(Matrix(columns, values_of(data.frame, columns)), leaving)
    try:
        found = health.score(table, connected, card).accounts["score"]
    except KeyError as error:
        raise ValueError(f"scorecard {name} cannot be read: {error.args[0]}") from None
    return found.to_numpy(dtype=np.float64, na_value=np.nan)


def scorecard(seen: FloatArray, y: FloatArray, asked: FloatArray) -> FloatArray:
    """Return P(y = 1) by a logistic fit on a scorecard's points: `seen` beside `y` in training, `asked` of the rows to predict.

    A missing total is marked, as with the health score (`training.baselines.health_score`).

    >>> p = scorecard(np.array([0.0, 10, 20, 80, 90, 100]), np.array([1.0, 1, 0, 1, 0, 0]), np.array([5.0, 95.0]))
    >>> bool(p[0] > 0.5 > p[1])
    True
    """
    fitted = baselines.health_score(pd.DataFrame({baselines.HEALTH: seen}), y)
    return fitted.predict(pd.DataFrame({baselines.HEALTH: asked}))


def hand_set() -> dict[str, Scorecard]:
    """The scorecards that come with the product to be compared with, by name.

    >>> list(hand_set())
    ['four_signs']
    """
    return {path.stem: load_scorecard(path) for path in _SCORECARDS}


#: The peers that are fitted; each scorecard is another one.
FITTED: Mapping[str, Callable[..., FloatArray]] = {"ebm": ebm, "lightgbm": lightgbm}
