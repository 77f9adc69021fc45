"""The booster on a flat table, as a scikit-learn estimator: any columns in, calibrated probabilities out, nothing set by hand."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.validation import check_is_fitted

from models.booster import fit_booster
from models.calibration import Platt
from models.matrix import FloatArray
from models.shape import pick_shape

#: Parts of the rows: each is held out once, to pick the shape, to stop the rounds and to calibrate.
FOLDS = 4
Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


class BoosterClassifier(ClassifierMixin, BaseEstimator):
    """`kunto train`'s booster for rows without time: its shape and rounds by held-out log loss, its probabilities by Platt's.

    Columns that are no numbers are told by the mean label of their values (Micci-Barreca 2001; scikit-learn's TargetEncoder,
    cross-fitted, so that no row tells its own label). Missing numbers stay missing.

    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"use": rng.random(400), "plan": rng.choice(["free", "paid"], 400)})
    >>> left = np.where((X["use"] < 0.3) & (X["plan"] == "free"), "left", "stayed")
    >>> model = BoosterClassifier().fit(X, left)
    >>> [str(label) for label in model.classes_], bool(model.score(X, left) > 0.9)
    (['left', 'stayed'], True)
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Fit on rows × columns and one of two labels per row; rows of one group (None: each its own) stay in one part.

        ValueError where `y` has not two labels, or one of them on fewer rows than there are parts.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(f"y has the labels {self.classes_[:5].tolist()}; give rows with two labels, such as 0 and 1")
        labels = codes.astype(np.float64)
        if np.bincount(codes).min() < FOLDS:
            raise ValueError(f"a label of y is on {np.bincount(codes).min()} rows; give {FOLDS} rows of each label or more")
        self.feature_names_in_, self.n_features_in_ = np.array(X.columns, dtype=object), X.shape[1]
        self.encoder_ = _encoder(self.random_state)
        table = self.encoder_.fit_transform(X, codes)
        folds = self._folds(labels, groups)
        picked = pick_shape(table, labels, folds, directions={}, seed=self.random_state)
        self.shape_, self.losses_ = picked.name, picked.losses
        self.scorer_ = fit_booster(
            table, labels, directions={}, settings=picked.settings, rounds=picked.rounds, seed=self.random_state
        )
        unseen = np.empty(len(labels))
        for part, (_, held) in zip(picked.models, folds, strict=True):
            unseen[held] = part.raw_score(table.iloc[held])
        self.calibrator_ = Platt.fit(unseen, labels)
        return self

    def predict_proba(self, X: pd.DataFrame) -> FloatArray:
        """Return the probability of each of `classes_` (rows, 2)."""
        check_is_fitted(self)
        p = self.calibrator_(self.scorer_.raw_score(self.encoder_.transform(X)))
        return np.column_stack([1 - p, p])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[Any]:
        """Return the likelier label of each row (rows,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _folds(self, labels: FloatArray, groups: npt.ArrayLike | None) -> list[Fold]:
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        return list(splitter(FOLDS, shuffle=True, random_state=self.random_state).split(labels, labels, groups))


def _encoder(seed: int) -> ColumnTransformer:
    """What leaves numbers as they are, and tells any other column by the mean label of its values."""
    told = TargetEncoder(target_type="binary", cv=StratifiedKFold(5, shuffle=True, random_state=seed))
    kinds = [
        ("told", told, make_column_selector(dtype_exclude=["number", "bool"])),
        ("numbers", "passthrough", make_column_selector(dtype_include=["number", "bool"])),
    ]
    return ColumnTransformer(kinds, verbose_feature_names_out=False).set_output(transform="pandas")
