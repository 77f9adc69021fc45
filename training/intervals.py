"""Bootstrap over accounts: rows of one account hang together, so whole accounts are drawn, never single rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq

FloatArray = npt.NDArray[np.float64]


def account_codes(accounts: npt.ArrayLike, rows: int) -> tuple[npt.NDArray[np.intp], int]:
    """Number the accounts of `rows` rows 0 … k−1 in sorted order; return the codes (rows,) and k.

    Sorting makes the draws of a seed independent of the order of the rows. ValueError on another length or a null.

    >>> codes, k = account_codes(["b", "a", "b"], 3)
    >>> codes.tolist(), k
    ([1, 0, 1], 2)
    """
    column = pd.Series(np.asarray(accounts))
    if len(column) != rows:
        raise ValueError(f"accounts has {len(column)} values for {rows} rows; give the account of every row of y")
    codes, labels = pd.factorize(column, sort=True)
    if (codes < 0).any():
        raise ValueError(f"accounts is null in row {int(np.argmax(codes < 0))}; give every row its account")
    return codes, len(labels)


def bootstrap(statistic: Callable[[FloatArray], Any], accounts: npt.ArrayLike, rows: int, *, draws: int, seed: int) -> FloatArray:
    """Evaluate `statistic` on `draws` resamples of the accounts; return an array (draws, …).

    `statistic` is given one weight per row: how often the row's account was drawn (0, 1, 2, …). That equals a frame
    with the drawn accounts' rows repeated, without building it. Two calls with one seed draw the same accounts.
    ValueError if `draws` is below 1 or `accounts` does not fit `rows`.

    >>> bootstrap(lambda weight: weight.sum(), ["a", "a", "b"], 3, draws=4, seed=1).shape
    (4,)
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; give 1 or more (500 is usual)")
    codes, count = account_codes(accounts, rows)
    rng = np.random.default_rng(seed)

    def weights() -> FloatArray:
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        return drawn.astype(np.float64)[codes]

    return np.array([statistic(weights()) for _ in range(draws)], dtype=np.float64)


def percentile_interval(values: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """Return the central percentile interval of the defined (not nan) bootstrap values; (nan, nan) if none is.

    >>> percentile_interval(np.arange(5.0), 0.5)
    (1.0, 3.0)
    """
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def gap_interval(gaps: FloatArray, drawn: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Σ|gap|, given the estimated `gaps` (bins,) and those of each resample (draws, bins).

    Noise adds to a sum of sizes and never cancels, and a resample adds the noise a second time: where the true gaps are
    0, every draw lies above them, and no percentile would hold the truth. So the lower end is found by test inversion
    (Carpenter, Bithell 2000): all gaps are moved towards 0, each in units of its own noise, until a sum as large as the one
    that is seen comes by noise in (1 − level)/2 of the draws; it is 0 where it does so with no gap at all. The upper end lies as
    far above the estimate as the draws' upper quantile above their median.

    >>> noise = np.array([[-0.01, 0.01], [0.02, 0.0], [0.0, -0.02]])
    >>> gap_interval(np.array([0.001, 0.0]), np.array([0.001, 0.0]) + noise)[0]
    0.0
    """
    noise, tail, sizes = drawn - gaps, (1 - level) / 2, np.abs(gaps)
    spread, estimate = noise.std(axis=0), float(sizes.sum())
    spread[spread <= 1e-6 * spread.max()] = 0  # rounding is no noise

    def moved(units: float) -> FloatArray:
        return np.sign(gaps) * np.maximum(sizes - units * spread, 0)

    def excess(units: float) -> float:
        return float(np.quantile(np.abs(moved(units) + noise).sum(axis=1), 1 - tail)) - estimate

    units = 2 * float(np.max(sizes[spread > 0] / spread[spread > 0], initial=0.0))  # far enough to leave no gap that moves
    if excess(units) < 0:  # of a handful of draws none may reach the estimate, wherever the gaps are
        units = float(brentq(excess, 0.0, units, maxiter=1000)) if excess(0.0) > 0 else 0.0
    middle, top = np.quantile(np.abs(drawn).sum(axis=1), [0.5, 1 - tail])
    return float(np.abs(moved(units)).sum()), estimate + float(top - middle)
