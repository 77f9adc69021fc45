"""How sure of a probability one is (domain.md §4)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from models.matrix import FloatArray

_TINY = 1e-9


@dataclass(frozen=True)
class Precision:
    """How sure one is of a probability: a 90 % interval for P(outcome | features).

    `edges` cut the calibration probabilities into bins of equal mass. Two things are not known: how often the outcome follows in
    a bin, as so many `accounts` say it (rows of one account are not independent, so each counts once), and what another sample
    of accounts would have made of the model, `spread`: the standard error of the logit in each bin, from the models that were
    fitted without a part of the accounts (grouped jackknife; Efron and Tibshirani 1993, chapter 11): it errs on the wide side, as
    it counts the draws of the fit itself several times. Both are errors on the logit scale, taken as normal and independent.
    """

    edges: tuple[float, ...]
    accounts: tuple[int, ...]
    spread: tuple[float, ...] = ()

    @classmethod
    def fit(cls, p: npt.ArrayLike, account_ids: npt.ArrayLike, parts: npt.ArrayLike | None = None, bins: int = 20) -> "Precision":
        """Count the accounts behind each bin of calibrated probabilities `p` (rows,).

        `parts` (parts × some rows): what each of the models that lack a part of the accounts says of some rows; None: not known.
        """
        probabilities, accounts = np.asarray(p, dtype=np.float64), np.asarray(account_ids)
        edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])) if len(probabilities) else np.array([])
        place = np.searchsorted(edges, probabilities, side="right")
        counts = [len(np.unique(accounts[place == k])) for k in range(len(edges) + 1)]
        spread = () if parts is None else _jackknife(np.asarray(parts, dtype=np.float64), edges)
        return cls(tuple(map(float, edges)), tuple(counts), spread)

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
        variance = 1.0 / (n * centre * (1 - centre) + 1.0)
        if self.spread:
            variance = variance + np.asarray(self.spread)[place] ** 2
        half = ndtri((1 + level) / 2) * np.sqrt(variance)
        low, high = expit(logit(centre) - half), expit(logit(centre) + half)
        return np.minimum(low, probability), np.maximum(high, probability)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)


def too_little_evidence(low: float, high: float, base_rate: float) -> bool:
    """Whether an interval leaves open both that an account is safer than usual and that its risk is twice the usual.

    >>> too_little_evidence(0.02, 0.2, 0.06), too_little_evidence(0.04, 0.09, 0.06)
    (True, False)
    """
    return low < base_rate and high > 2 * base_rate


def _jackknife(parts: FloatArray, edges: FloatArray) -> tuple[float, ...]:
    """Standard error of the logit per bin of the mean probability; a bin without a row takes the mean of all."""
    z = logit(np.clip(parts, _TINY, 1 - _TINY))
    count = len(z)
    variance = (count - 1) / count * ((z - z.mean(axis=0)) ** 2).sum(axis=0)
    place = np.searchsorted(edges, expit(z.mean(axis=0)), side="right")
    rows = np.bincount(place, minlength=len(edges) + 1)
    found = np.bincount(place, variance, minlength=len(edges) + 1) / np.maximum(rows, 1)
    return tuple(float(each) for each in np.sqrt(np.where(rows > 0, found, variance.mean())))
