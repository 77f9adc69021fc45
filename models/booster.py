"""Gradient boosting with LightGBM: one booster, monotone where the catalogue's directions are plain, kept as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

FloatArray = npt.NDArray[np.float64]
#: Fewer rows are fitted on one thread: sharing them out costs more than it saves, and many times so on a busy machine.
SHARED_ROWS = 50_000


class BoosterSettings(BaseModel):
    """What a data scientist may turn; the defaults were chosen on training periods only (docs/test-looks.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    num_leaves: int = Field(default=7, ge=2)
    feature_fraction: float = Field(default=0.5, gt=0, le=1)
    bagging_fraction: float = Field(default=0.7, gt=0, le=1)
    lambda_l2: float = Field(default=10.0, ge=0)
    rows_per_leaf: int = Field(default=200, ge=1)

    def parameters(self, rows: int, directions: Sequence[int], seed: int) -> dict[str, object]:
        """LightGBM's parameters; a leaf needs `rows_per_leaf` rows, or a fiftieth of a small table."""
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "min_data_in_leaf": max(min(self.rows_per_leaf, rows // 50), 5),
            "monotone_constraints": list(directions),
            "seed": seed,
            "deterministic": True,
            "num_threads": 1 if rows < SHARED_ROWS else 0,
            "force_col_wise": True,
            "verbose": -1,
        }


@dataclass(frozen=True)
class BoosterModel:
    """A fitted booster over `columns`; the same methods as `models.linear.LinearModel`."""

    columns: tuple[str, ...]
    text: str

    @cached_property
    def booster(self) -> lgb.Booster:
        """LightGBM's booster, read from its text."""
        return lgb.Booster(model_str=self.text)

    def raw_score(self, frame: pd.DataFrame) -> FloatArray:
        """Return the margin (rows,) in logits."""
        return np.asarray(self.booster.predict(self._values(frame), raw_score=True), dtype=np.float64)

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return exact TreeSHAP values in logits, (rows, columns); `base_value` plus a row's sum is its raw score."""
        if frame.empty:  # LightGBM divides by the number of rows
            return pd.DataFrame(columns=list(self.columns), index=frame.index, dtype=np.float64)
        values = np.asarray(self.booster.predict(self._values(frame), pred_contrib=True))
        return pd.DataFrame(values[:, :-1], index=frame.index, columns=list(self.columns))

    @cached_property
    def base_value(self) -> float:
        """The expected margin, which the contributions start from."""
        row = np.full((1, len(self.columns)), np.nan)
        return float(np.asarray(self.booster.predict(row, pred_contrib=True))[0, -1])

    def _values(self, frame: pd.DataFrame) -> FloatArray:
        return check_columns(frame, self.columns)[list(self.columns)].to_numpy(dtype=np.float64)


def check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the frame if it has every column that the model was fitted on; else a ValueError with the difference.

    >>> check_columns(pd.DataFrame({"seats": [1.0]}), ["mrr", "seats"])
    Traceback (most recent call last):
    ValueError: the frame lacks mrr; the model was fitted on 2 columns: build them with features.build, or retrain
    """
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise ValueError(
            f"the frame lacks {', '.join(lacking[:10])}{' …' if len(lacking) > 10 else ''}; the model was fitted on "
            f"{len(columns)} columns: build them with features.build, or retrain"
        )
    return frame


def fit_booster(
    X: pd.DataFrame,
    y: npt.ArrayLike,
    *,
    directions: Mapping[str, int],
    settings: BoosterSettings | None = None,
    seed: int = 0,
) -> BoosterModel:
    """Fit on the frame's columns (rows × features, NaN = missing) and 0/1 labels; columns without a direction are free.

    With one class in `y` the model is the base rate with half a row of each class added, as in `models.linear.fit`.

    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"use": rng.random(400)})
    >>> model = fit_booster(X, X["use"] < 0.3, directions={"use": -1})
    >>> bool(np.all(np.diff(model.raw_score(X.sort_values("use"))) <= 0))
    True
    """
    chosen = settings or BoosterSettings()
    columns = tuple(X.columns)
    values, labels, weights = X.to_numpy(dtype=np.float64), np.asarray(y, dtype=np.float64), None
    if labels.min() == labels.max():
        weights = np.array([np.sum(labels == label) + 0.5 for label in (0.0, 1.0)])
        values, labels = np.full((2, len(columns)), np.nan), np.array([0.0, 1.0])
    data = lgb.Dataset(values, labels, weight=weights, free_raw_data=True)
    parameters = chosen.parameters(len(X), [directions.get(column, 0) for column in columns], seed)
    booster = lgb.train(parameters, data, num_boost_round=chosen.rounds)
    return BoosterModel(columns, booster.model_to_string())
