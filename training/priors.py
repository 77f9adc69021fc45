"""What each booster starts from: the health scorecard, or the model of another company that this one brings (domain.md §4)."""

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
