"""Fitting one outcome: rows, landmarks, booster or logistic, and calibration on other accounts than the fit (domain.md §4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold

from features.catalogue import catalog
from models import linear
from models.booster import BoosterModel, BoosterSettings, fit_booster
from models.calibration import Calibrator, Precision
from models.hazard import CARRIED, expand, step_length
from models.linear import LinearModel
from models.outcome import OutcomeModel
from training.settings import Task

Kind = Literal["booster", "logistic"]
FloatArray = npt.NDArray[np.float64]
#: Parts into which the accounts are cut to calibrate.
FOLDS = 4
#: A feature's direction is told for churn; expansion is expected to run against it.
_SIGN = {"churn": 1, "contraction": 1, "expansion": -1}


@dataclass(frozen=True)
class Rows:
    """Labelled rows of one task, all in one order: features, timeline (churn_at, known_until), label (0/1), MRR change."""

    frame: pd.DataFrame
    timeline: pd.DataFrame
    y: FloatArray
    change: FloatArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.y)

    @property
    def accounts(self) -> npt.NDArray[np.object_]:
        """Account of each row."""
        return self.timeline["account_id"].to_numpy(dtype=object)

    def positive_accounts(self) -> int:
        """How many accounts have the outcome in some row."""
        return len(set(self.accounts[self.y > 0]))

    def take(self, where: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Rows":
        """The rows at a mask or at positions."""
        at = np.flatnonzero(where) if where.dtype == bool else where
        return Rows(
            self.frame.iloc[at].reset_index(drop=True),
            self.timeline.iloc[at].reset_index(drop=True),
            self.y[at],
            self.change[at],
        )


def usable_columns(frame: pd.DataFrame) -> list[str]:
    """Features that vary in the training rows; the rest has nothing to say."""
    return [name for name in frame.columns if not _constant(frame[name])]


def _constant(values: pd.Series) -> bool:
    missing = values.isna()
    return bool(missing.all() or (not missing.any() and (values == values.iloc[0]).all()))


def fit_outcome(
    task: Task,
    kind: Kind,
    rows: Rows,
    *,
    product_features: tuple[str, ...] = (),
    settings: BoosterSettings | None = None,
    seed: int = 0,
) -> OutcomeModel:
    """Fit on all `rows`, calibrated on margins of accounts that the calibrating fits had not seen (cross-fitting).

    Not on later dates: where history is short, the fit before them saw half of it, and its margins are not those of the
    served scorer, which is fitted on all rows (docs/test-looks.md has both ways measured).
    """
    carried = CARRIED if task.outcome == "churn" else ()
    columns = list(dict.fromkeys((*usable_columns(rows.frame), *carried)))
    rows = Rows(rows.frame[columns], rows.timeline, rows.y, rows.change)
    directions = {name: f.direction * _SIGN[task.outcome] for name, f in catalog(product_features).items()}

    def fit(part: Rows) -> BoosterModel | LinearModel:
        X, y = _examples(task, part, seed)
        if kind == "logistic":
            return linear.fit(X, y, columns=list(X.columns))
        return fit_booster(X, y, directions=directions, settings=settings, seed=seed)

    steps_known = _steps_known(task, rows)

    def model(scorer: BoosterModel | LinearModel, calibrator: Calibrator, precision: Precision) -> OutcomeModel:
        return OutcomeModel(
            outcome=task.outcome,
            horizon_days=task.horizon_days,
            scorer=scorer,
            calibrator=calibrator,
            precision=precision,
            base_rates={task.horizon_days: float(rows.y.mean())},
            mean_change=float(np.abs(rows.change[rows.y > 0]).mean()) if rows.y.any() else 0.0,
            steps_known=steps_known,
            product_features=product_features,
        )

    margins, labels, unseen, held = [], [], [], []
    for kept, part in calibration_parts(rows):
        raw = model(fit(kept), Calibrator(), Precision((), (1,)))
        margin, y = _margins(task, raw, part)
        margins.append(margin)
        labels.append(y)
        unseen.append(raw)
        held.append(part)
    calibrator = Calibrator.fit(np.concatenate(margins), np.concatenate(labels))
    p = [model(raw.scorer, calibrator, raw.precision).probability(part.frame) for raw, part in zip(unseen, held, strict=True)]
    precision = Precision.fit(np.concatenate(p), np.concatenate([part.accounts for part in held]))
    return model(fit(rows), calibrator, precision)


def calibration_parts(rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield (fitted on, calibrated on): folds that keep the rows of an account together."""
    accounts = rows.accounts
    folds = GroupKFold(n_splits=min(FOLDS, len(set(accounts))))
    for kept, held in folds.split(rows.frame, groups=accounts):
        yield rows.take(kept), rows.take(held)


def _examples(task: Task, rows: Rows, seed: int) -> tuple[pd.DataFrame, FloatArray]:
    if task.outcome != "churn":
        return rows.frame, rows.y
    landmarks = expand(rows.frame, rows.timeline, horizon_days=task.horizon_days, rng=np.random.default_rng(seed))
    return landmarks.frame, landmarks.y


def _margins(task: Task, model: OutcomeModel, rows: Rows) -> tuple[FloatArray, FloatArray]:
    """Margins and labels that calibrate: for churn of the steps up to the horizon, each its own question."""
    if task.outcome != "churn":
        return model.scorer.raw_score(rows.frame), rows.y
    landmarks = expand(rows.frame, rows.timeline, horizon_days=task.horizon_days, rng=np.random.default_rng(0), far_share=0.0)
    return model.scorer.raw_score(landmarks.frame), landmarks.y


def _steps_known(task: Task, rows: Rows) -> int:
    """Steps whose end lies before what is known, for at least one row."""
    if task.outcome != "churn":
        return 1
    reach = (rows.timeline["known_until"] - rows.timeline["as_of"]).max()
    return max(int(reach / pd.Timedelta(days=step_length(task.horizon_days))), 1)
