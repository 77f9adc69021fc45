"""How stiff or supple a booster is: picked among a few shapes by held-out log loss, inside the rows that it is fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.booster import BoosterModel, BoosterSettings, cross_fit

#: Stiff: few leaves of many rows, for faint and noisy signs; supple: deep trees of small leaves, for sharp rules that interact.
SHAPES: Mapping[str, BoosterSettings] = {
    "stiff": BoosterSettings(),
    "supple": BoosterSettings(
        num_leaves=31,
        rows_per_leaf=20,
        learning_rate=0.05,
        feature_fraction=0.5,
        bagging_fraction=0.8,
        lambda_l2=20.0,
        path_smooth=10.0,
    ),
}


@dataclass(frozen=True)
class Picked:
    """The shape with the least held-out log loss; `losses` (nats a row) of every shape, by name, in the order tried.

    `models`: one per fold, fitted without its held-out rows, all of `rounds` rounds.
    """

    name: str
    settings: BoosterSettings
    losses: Mapping[str, float]
    models: Sequence[BoosterModel]

    @property
    def rounds(self) -> int:
        """Rounds at which the held-out log loss is least."""
        return self.models[0].rounds


def pick_shape(
    X: pd.DataFrame,
    y: npt.ArrayLike,
    folds: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
    *,
    directions: Mapping[str, int],
    shapes: Mapping[str, BoosterSettings] = SHAPES,
    sample_weight: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Picked:
    """Cross-fit each shape on the same folds and return the one of the least held-out log loss; the first on a tie.

    Arguments and errors as `models.booster.cross_fit`; ValueError without a shape. It costs one cross-fit per shape, of which
    the picked one's is returned, to be calibrated on.

    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.random((800, 2)), columns=["use", "seats"])
    >>> halves = np.arange(400), np.arange(400, 800)
    >>> pick_shape(X, (X["use"] < 0.5) ^ (X["seats"] < 0.5), [halves, halves[::-1]], directions={}).name
    'supple'
    """
    if not shapes:
        raise ValueError("shapes is empty; give one or more, by name (models.shape.SHAPES by default)")
    found = {
        name: cross_fit(X, y, folds, directions=directions, settings=settings, sample_weight=sample_weight, seed=seed)
        for name, settings in shapes.items()
    }
    losses = {name: loss for name, (_, loss) in found.items()}
    best = min(losses, key=losses.__getitem__)
    return Picked(best, shapes[best], losses, found[best][0])
