"""Calibrators of two and three numbers: Platt's and beta calibration, both a logistic regression on what the margin says."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from models.calibration.base import Calibration, bounded, examples
from models.matrix import FloatArray

#: A weight this small would say that the model ranks nothing; the prior pulls towards 1 (Platt 1999, on a penalised fit).
_PRIOR_STRENGTH = 2.0
_LARGEST = 5.0


@dataclass(frozen=True)
class Platt(Calibration):
    """P = sigmoid(intercept + slope × margin), slope ≥ 0, so that the order of accounts stays (Platt 1999)."""

    kind: ClassVar[str] = "platt"
    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, margin: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of `margin` (logits); nan gives nan."""
        return bounded(expit(self.intercept + self.slope * np.asarray(margin, dtype=np.float64)))

    @classmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows that the scorer had not seen; one class alone leaves the margins as they are.

        >>> Platt.fit([-2.0, -1.0, 0.0, 1.0], [0, 0, 0, 0]).slope
        1.0
        """
        m, target = examples(margin, y)
        return cls(*_logistic([m], target)) if np.ptp(target) else cls()


@dataclass(frozen=True)
class Beta(Calibration):
    """P = sigmoid(c + a × ln p − b × ln(1 − p)) at p = sigmoid(margin), a, b ≥ 0 (Kull, Silva Filho, Flach 2017).

    Where the margin is low, a is the slope in logits; where it is high, b: it bends what Platt's keeps straight.
    """

    kind: ClassVar[str] = "beta"
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, margin: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of `margin` (logits); nan gives nan."""
        m = np.asarray(margin, dtype=np.float64)
        return bounded(expit(self.c + self.a * log_expit(m) - self.b * log_expit(-m)))

    @classmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows that the scorer had not seen; one class alone leaves the margins as they are.

        >>> Beta.fit([-2.0, -1.0, 0.0, 1.0], [0, 0, 0, 0])
        Beta(a=1.0, b=1.0, c=0.0)
        """
        m, target = examples(margin, y)
        if not np.ptp(target):
            return cls()
        c, a, b = _logistic([log_expit(m), -log_expit(-m)], target)
        return cls(a, b, c)


def _logistic(columns: list[FloatArray], target: FloatArray) -> list[float]:
    """Return the intercept and a weight ≥ 0 for each column (rows,): penalised maximum likelihood, the weights pulled to 1."""
    prior = _PRIOR_STRENGTH / len(target)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        z, away = np.full(len(target), parameters[0]), parameters[1:] - 1.0
        for weight, column in zip(parameters[1:], columns, strict=True):
            z += weight * column
        error = expit(z) - target
        value = np.mean(np.logaddexp(0.0, z) - target * z) + 0.5 * prior * (away @ away)
        slopes = np.array([np.mean(error * column) for column in columns]) + prior * away
        return float(value), np.append(error.mean(), slopes)

    found = minimize(
        loss,
        np.append(0.0, np.ones(len(columns))),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None)] + [(0.0, _LARGEST)] * len(columns),
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    return [float(value) for value in found.x]
