"""From margins to probabilities one may believe, and how sure of them one is (domain.md §4)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtri

FloatArray = npt.NDArray[np.float64]
_TINY = 1e-9
#: A slope this small would say that the model ranks nothing; the prior pulls towards 1 (Platt 1999, on a penalised fit).
_PRIOR_STRENGTH = 2.0


@dataclass(frozen=True)
class Calibrator:
    """P = sigmoid(intercept + slope × margin), slope ≥ 0, so that the order of accounts stays (Platt 1999)."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, margin: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of `margin` (logits)."""
        return expit(self.intercept + self.slope * np.asarray(margin, dtype=np.float64))

    @classmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> "Calibrator":
        """Fit on accounts that the booster had not seen: margins and 0/1 labels, both (rows,).

        >>> Calibrator.fit([-2.0, -1.0, 0.0, 1.0], [0, 0, 0, 0]).slope
        1.0
        """
        m, target = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if target.min(initial=1.0) == target.max(initial=0.0):
            return cls()

        prior = _PRIOR_STRENGTH / len(m)

        def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
            z, away = parameters[0] + parameters[1] * m, parameters[1] - 1.0
            error = expit(z) - target
            value = np.mean(np.logaddexp(0.0, z) - target * z) + 0.5 * prior * away**2
            return float(value), np.array([error.mean(), np.mean(error * m) + prior * away])

        found = minimize(
            loss,
            np.array([0.0, 1.0]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None), (0.0, 5.0)],
            options={"ftol": 1e-12, "gtol": 1e-8},
        )
        return cls(float(found.x[0]), float(found.x[1]))


@dataclass(frozen=True)
class Precision:
    """How many accounts stand behind a probability: an interval for P(outcome | features) at a level.

    `edges` cut the calibration probabilities into bins of equal mass; `accounts` counts the distinct accounts per bin. The
    half-width is a normal approximation on the logit scale, as if each account in the bin had been seen once: rows of one
    account are not independent.
    """

    edges: tuple[float, ...]
    accounts: tuple[int, ...]

    @classmethod
    def fit(cls, p: npt.ArrayLike, account_ids: npt.ArrayLike, bins: int = 20) -> "Precision":
        """Count the accounts behind each bin of calibrated probabilities `p` (rows,)."""
        probabilities, accounts = np.asarray(p, dtype=np.float64), np.asarray(account_ids)
        edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])) if len(probabilities) else np.array([])
        place = np.searchsorted(edges, probabilities, side="right")
        counts = [len(np.unique(accounts[place == k])) for k in range(len(edges) + 1)]
        return cls(tuple(map(float, edges)), tuple(counts))

    def interval(self, p: npt.ArrayLike, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Return low and high around `p` (rows,), within 0…1, low ≤ p ≤ high.

        >>> low, high = Precision((), (100,)).interval([0.1])
        >>> round(float(low[0]), 3), round(float(high[0]), 3)
        (0.062, 0.157)
        """
        probability = np.asarray(p, dtype=np.float64)
        centre = np.clip(probability, _TINY, 1 - _TINY)
        place = np.searchsorted(np.asarray(self.edges), centre, side="right")
        n = np.maximum(np.asarray(self.accounts, dtype=np.float64)[place], 1.0)
        # One event more than expected, so that a rare outcome is never called certain.
        half = ndtri((1 + level) / 2) / np.sqrt(n * centre * (1 - centre) + 1.0)
        low, high = expit(logit(centre) - half), expit(logit(centre) + half)
        return np.minimum(low, probability), np.maximum(high, probability)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)
