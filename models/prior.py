"""What a booster starts from where a company's own past says little: the scorecard, or a model that the company brings.

Boosting departs from the prior only as far as held-out accounts agree (`models.booster.cross_fit`): with little evidence the
model stays near what the field knows, with much of it the prior is forgotten (Schapire et al. 2002, Incorporating prior
knowledge into boosting).
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from models.linear import LinearModel, Term
from models.matrix import FloatArray, Table, positions
from models.scorecard import Measure, Scorecard

#: Logits between an account on the border of "healthy" (80 points) and one on that of "critical" (20), before `settle`.
_LOGITS, _POINTS = 3.0, 60.0
#: How sure one is beforehand that the prior's slope is right, as a standard deviation around 1.
_SLOPE_DEVIATION = 0.5


class Scorer(Protocol):
    """What has a margin that its addends explain, as `models.linear.LinearModel` and `models.booster.BoosterModel` have."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""

    @property
    def base_value(self) -> float:
        """The margin that the addends start from."""

    def raw_score(self, table: Table) -> FloatArray:
        """Margin (rows,) in logits."""

    def addends(self, table: Table) -> FloatArray:
        """Addends (rows × columns) of the margin beside the base value."""


@dataclass(frozen=True)
class Prior:
    """`slope` × the margin of `scorer` + `shift`; `kind` says where the scorer is from."""

    kind: str
    scorer: Scorer
    slope: float
    shift: float

    @property
    def base_value(self) -> float:
        """The margin that the addends start from."""
        return self.slope * self.scorer.base_value + self.shift

    def raw_score(self, table: Table) -> FloatArray:
        """Margin (rows,) in logits."""
        return self.slope * self.scorer.raw_score(table) + self.shift

    def add(self, addends: FloatArray, table: Table, columns: tuple[str, ...]) -> None:
        """Add this margin's addends to those (rows × columns) of a booster that starts from it."""
        addends[:, positions(columns, self.scorer.columns)] += self.slope * self.scorer.addends(table)


def settle(
    kind: str, scorer: Scorer, X: pd.DataFrame, y: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, accounts: int
) -> Prior:
    """Fit slope and shift to labels `y` (rows,) of the rows X, the slope held near 1 and at least 0 (maximum a posteriori).

    All rows together weigh as much as one row of each of the `accounts`: those of one account say much the same.

    >>> X = pd.DataFrame({"use": np.linspace(0, 1, 400)})
    >>> guess = LinearModel(("use",), 0.0, (Term("use", 0.0, 1.0, 0.0, coefficient=-2.0),))
    >>> few, many = (settle("base", guess, X, X["use"] < 0.25, accounts=n).slope for n in (10, 10_000))
    >>> 1 < few < 2 < many
    True
    """
    margin, labels = scorer.raw_score(X), np.asarray(y, dtype=np.float64)
    weights = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    weights = weights * (accounts / weights.sum())

    def posterior(at: FloatArray) -> tuple[float, FloatArray]:
        z = at[0] * margin + at[1]
        error = weights * (expit(z) - labels)
        off = (at[0] - 1.0) / _SLOPE_DEVIATION
        loss = float(weights @ (np.logaddexp(0.0, z) - labels * z)) + off**2 / 2
        return loss, np.array([error @ margin + off / _SLOPE_DEVIATION, error.sum()])

    found = minimize(posterior, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (-30.0, 30.0)])
    return Prior(kind, scorer, float(found.x[0]), float(found.x[1]))


def of_scorecard(card: Scorecard, X: pd.DataFrame, *, sign: int) -> LinearModel | None:
    """Return the scorecard as a margin over those of its measures that the rows X (rows × features) hold; None without any.

    Σ share × points as the health score has it (domain.md §3), but for its exceptions, the fading of old answers, and what it
    does without a value: there the middle value of the rows stands in. `sign`: 1 where poor health raises the margin, −1 where
    it lowers it. The margin's mean over the rows is 0.
    """
    parts = [(part.weight, [measure for measure in part.measures if measure.feature in X.columns]) for part in card.components]
    parts = [(weight, measures) for weight, measures in parts if measures]
    terms: list[Term] = []
    for weight, measures in parts:
        unit = -sign * _LOGITS / _POINTS * weight / sum(each for each, _ in parts) / sum(each.weight for each in measures)
        for measure in measures:
            terms += _terms(measure, X[measure.feature].to_numpy(dtype=np.float64), unit * measure.weight)
    return LinearModel(tuple(dict.fromkeys(term.column for term in terms)), 0.0, tuple(terms)) if terms else None


def _terms(measure: Measure, values: FloatArray, logits_a_point: float) -> list[Term]:
    """A measure's curve: one straight piece between each knot and the next."""
    known = values[~np.isnan(values)]
    asked = float(np.median(known)) if len(known) else measure.knots[0][0]
    fill = asked if measure.silence is None else measure.silence
    pieces = [
        Term(measure.feature, low, high, fill, coefficient=(above - below) * logits_a_point)
        for (low, below), (high, above) in pairwise(measure.knots)
    ]
    return [replace(piece, mean=float(piece.position(values).mean())) for piece in pieces]
