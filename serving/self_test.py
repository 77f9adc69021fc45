"""A model proves itself before it serves: rows made up of its own inputs, and the laws that every answer keeps."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.outcome import OutcomeModel
from serving.champions import Champions

_ROWS, _SEED = 16, 0
#: LightGBM sums a batch's contributions in another order than its margins.
_TOLERANCE = 1e-4


class SelfTestError(ValueError):
    """A model that answered wrongly, or not at all."""


def probe(columns: tuple[str, ...]) -> pd.DataFrame:
    """The fixed rows (rows × columns): nothing known, all zero, very much of everything, and everyday magnitudes.

    >>> probe(("mrr", "seats")).iloc[:2].values.tolist()
    [[nan, nan], [0.0, 0.0]]
    """
    everyday = np.random.default_rng(_SEED).lognormal(2, 2, (_ROWS - 3, len(columns)))
    extremes = np.repeat([[np.nan], [0.0], [1e9]], len(columns), axis=1)
    return pd.DataFrame(np.vstack([extremes, everyday]), columns=list(columns))


def check_models(champions: Champions) -> None:
    """Let every model predict and explain `probe`; SelfTestError with its name and what is wrong."""
    for champion in champions.models.values():
        try:
            check_model(champion.model)
        except Exception as error:
            raise SelfTestError(f"version {champion.version} of {champion.name} fails its self-test: {error}") from error


def check_model(model: OutcomeModel) -> None:
    """Raise SelfTestError where an answer to `probe` breaks a law; whatever the model raises is raised."""
    rows = probe(model.inputs)
    p = model.probability(rows)
    low, high = model.precision.interval(p)
    _require(_within_one(p), "a probability is not between 0 and 1")
    _require(_within_one(low) and _within_one(high) and bool((low <= high).all()), "an interval is not between 0 and 1")
    if model.outcome == "churn":
        curve = model.survival(rows)
        _require(_within_one(curve), "the curve is not between 0 and 1")
        _require(bool((np.diff(curve, axis=1) <= 0).all()), "the curve rises")
    explained = model.explain(rows)
    total = explained.base_value + np.asarray(explained.contributions.values).sum(axis=1)
    _require(bool(np.isfinite(total).all()), "a contribution is not finite")
    _require(np.allclose(total, explained.raw_score, rtol=0, atol=_TOLERANCE), "contributions do not add up to the raw score")


def _within_one(values: npt.NDArray[np.float64]) -> bool:
    return bool((np.isfinite(values) & (values >= 0) & (values <= 1)).all())


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SelfTestError(otherwise)
