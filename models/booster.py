"""Gradient boosting with LightGBM: one booster, monotone where the catalogue's directions are plain, kept as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from models.batch_contributions import BATCH_ROWS, BatchExplainer, batch_explainer
from models.matrix import FloatArray, Table, values_of
from models.prior import Prior

#: Fewer rows are fitted on one thread: sharing them out costs more than it saves, and many times so on a busy machine.
SHARED_ROWS = 50_000
#: Rounds without a lower held-out loss after which no more are tried.
PATIENCE = 40
#: Fewer rows are predicted on one thread, for the same reason.
SHARED_PREDICTIONS = 2_000


class BoosterSettings(BaseModel):
    """What a data scientist may turn; the defaults were chosen on training periods only (docs/test-looks.md).

    `rounds` is the most there may be: how many there are, held-out accounts say (`cross_fit`). Of the rows without the outcome
    `negatives` per row with it are read (`models.hazard.case_control`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=800, ge=1)
    learning_rate: float = Field(default=0.04, gt=0, le=1)
    num_leaves: int = Field(default=7, ge=2)
    feature_fraction: float = Field(default=0.3, gt=0, le=1)
    bagging_fraction: float = Field(default=0.7, gt=0, le=1)
    lambda_l2: float = Field(default=10.0, ge=0)
    path_smooth: float = Field(default=20.0, ge=0)
    rows_per_leaf: int = Field(default=200, ge=1)
    negatives: float = Field(default=8.0, gt=0)

    def parameters(self, rows: int, directions: Sequence[int], seed: int) -> dict[str, object]:
        """LightGBM's parameters; a leaf needs `rows_per_leaf` rows, or a fiftieth of a small table."""
        return {
            "objective": "binary",
            "metric": "binary_logloss",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "path_smooth": self.path_smooth,
            "min_data_in_leaf": max(min(self.rows_per_leaf, rows // 50), 5),
            "max_bin": 63,
            "monotone_constraints": list(directions),
            # The basic method gives away more than the constraint asks for (LightGBM's documentation).
            "monotone_constraints_method": "intermediate",
            "seed": seed,
            "deterministic": True,
            "num_threads": 1 if rows < SHARED_ROWS else 0,
            "force_col_wise": True,
            "verbose": -1,
        }


@dataclass(frozen=True)
class BoosterModel:
    """A fitted booster over `columns`, and the prior that it started from; the same methods as `models.linear.LinearModel`."""

    columns: tuple[str, ...]
    text: str
    prior: Prior | None = None

    @property
    def rounds(self) -> int:
        """Trees, one a round."""
        return int(self.booster.num_trees())

    @cached_property
    def booster(self) -> lgb.Booster:
        """LightGBM's booster, read from its text; it knows nothing of the prior."""
        return lgb.Booster(model_str=self.text)

    def raw_score(self, table: Table) -> FloatArray:
        """Return the margin (rows,) in logits."""
        if not len(table):
            return np.empty(0)
        own = self._predicted(values_of(table, self.columns), raw_score=True)
        return own if self.prior is None else own + self.prior.raw_score(table)

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return exact TreeSHAP values in logits, (rows, columns), with the prior's own addends; `base_value` plus a row's sum is
        its raw score."""
        return pd.DataFrame(self.addends(frame), index=frame.index, columns=list(self.columns))

    def addends(self, table: Table, margins: FloatArray | None = None) -> FloatArray:
        """As `contributions`; `margins` (rows,): the raw score, where it is known already, against which a batch is checked."""
        if not len(table):  # LightGBM divides by the number of rows
            return np.empty((0, len(self.columns)))
        found = self._of_trees(values_of(table, self.columns), table, margins)
        if self.prior is not None:
            self.prior.add(found, table, self.columns)
        return found

    def _of_trees(self, values: FloatArray, table: Table, margins: FloatArray | None) -> FloatArray:
        """The addends of the trees alone."""
        if len(values) >= BATCH_ROWS and self._batch is not None:
            if margins is None:
                own = self._predicted(values, raw_score=True)
            else:
                own = margins if self.prior is None else margins - self.prior.raw_score(table)
            return self._batch.contributions(values, self._expected, own)
        return self._predicted(values, pred_contrib=True)[:, :-1]

    @cached_property
    def _batch(self) -> BatchExplainer | None:
        """What explains many rows at once, where it can read the booster."""
        return batch_explainer(self.booster)

    @cached_property
    def base_value(self) -> float:
        """The expected margin, which the contributions start from."""
        return self._expected if self.prior is None else self._expected + self.prior.base_value

    @cached_property
    def _expected(self) -> float:
        """The expected margin of the trees alone."""
        row = np.full((1, len(self.columns)), np.nan)
        return float(np.asarray(self.booster.predict(row, pred_contrib=True))[0, -1])

    def _predicted(self, values: FloatArray, **what: bool) -> FloatArray:
        threads = 1 if len(values) < SHARED_PREDICTIONS else 0
        return np.asarray(self.booster.predict(values, num_threads=threads, **what), dtype=np.float64)


def fit_booster(
    X: pd.DataFrame,
    y: npt.ArrayLike,
    *,
    directions: Mapping[str, int],
    settings: BoosterSettings | None = None,
    rounds: int | None = None,
    sample_weight: npt.ArrayLike | None = None,
    prior: Prior | None = None,
    seed: int = 0,
) -> BoosterModel:
    """Fit on the frame's columns (rows × features, NaN = missing) and 0/1 labels; columns without a direction are free.

    `rounds`: as `cross_fit` found them (None: those of the settings). Boosting starts from the `prior`'s margin. With one class
    in `y` the model is the base rate with half a row of each class added, as in `models.linear.fit`.

    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"use": rng.random(400)})
    >>> model = fit_booster(X, X["use"] < 0.3, directions={"use": -1}, rounds=50)
    >>> bool(np.all(np.diff(model.raw_score(X.sort_values("use"))) <= 0))
    True
    """
    chosen = settings or BoosterSettings()
    columns, labels = tuple(X.columns), np.asarray(y, dtype=np.float64)
    if labels.min() == labels.max():
        weights = np.array([np.sum(labels == label) + 0.5 for label in (0.0, 1.0)])
        data, prior = lgb.Dataset(np.full((2, len(columns)), np.nan), np.array([0.0, 1.0]), weight=weights), None
    else:
        data = _dataset(X, labels, sample_weight, prior)
    parameters = chosen.parameters(len(X), [directions.get(column, 0) for column in columns], seed)
    booster = lgb.train(parameters, data, num_boost_round=rounds or chosen.rounds)
    return BoosterModel(columns, booster.model_to_string(), prior)


def cross_fit(
    X: pd.DataFrame,
    y: npt.ArrayLike,
    folds: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
    *,
    directions: Mapping[str, int],
    settings: BoosterSettings | None = None,
    sample_weight: npt.ArrayLike | None = None,
    prior: Prior | None = None,
    seed: int = 0,
) -> tuple[list[BoosterModel], float]:
    """Fit one booster per fold, all stopped at the round at which the held-out log loss is least; return them and that loss.

    `folds`: positions fitted on, and held out. The mean loss (nats a row, weighted) is over folds. ValueError where a fold's
    part has one class only.

    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"use": rng.random(400)})
    >>> halves = np.arange(200), np.arange(200, 400)
    >>> models, loss = cross_fit(X, X["use"] < 0.3, [halves, halves[::-1]], directions={})
    >>> len(models), loss < 0.2
    (2, True)
    """
    chosen = settings or BoosterSettings()
    columns, labels = tuple(X.columns), np.asarray(y, dtype=np.float64)
    for kept, _ in folds:
        if labels[kept].min() == labels[kept].max():
            raise ValueError(f"a fold of {len(kept)} rows holds one class only: give fewer folds, or parts with both classes")
    found = lgb.cv(
        chosen.parameters(len(X), [directions.get(column, 0) for column in columns], seed),
        _dataset(X, labels, sample_weight, prior),
        num_boost_round=chosen.rounds,
        folds=folds,
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        return_cvbooster=True,
    )
    loss, boosters = found["valid binary_logloss-mean"], found["cvbooster"].boosters
    return [BoosterModel(columns, each.model_to_string(num_iteration=len(loss)), prior) for each in boosters], float(loss[-1])


def _dataset(X: pd.DataFrame, labels: FloatArray, sample_weight: npt.ArrayLike | None, prior: Prior | None) -> lgb.Dataset:
    values = X.to_numpy(dtype=np.float32)
    start = None if prior is None else prior.raw_score(X)
    return lgb.Dataset(values, labels, weight=sample_weight, init_score=start, free_raw_data=False)
