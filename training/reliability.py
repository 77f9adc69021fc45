"""Do predicted probabilities come true: by tenths of the risk, and by segment, with intervals by account."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from training import ranking
from training.gate import ENOUGH
from training.intervals import FloatArray, account_codes, bootstrap, percentile_interval
from training.metrics import as_labels, as_probabilities, with_intervals
from training.ranking import RankedRows, Ranking

Evidence = Literal["enough", "not enough evidence"]
_FIGURES = {"ratio": ranking.observed_over_expected, "log_loss": ranking.log_loss, "ece": ranking.ece}


def reliability_bins(
    y: npt.ArrayLike, p: npt.ArrayLike, accounts: npt.ArrayLike, *, bins: int = 10, draws: int = 500, seed: int
) -> pd.DataFrame:
    """Return per equal-mass bin of `p`, lowest first: rows, mean_p, rate (observed), rate_low, rate_high (95 % by account).

    The bins are cut as those of `metrics.ece`: a tie at a border gives both its mean label, and where there are fewer rows than
    bins each row is one. A draw of the accounts is cut into bins anew. In a bin without a positive, or of positives alone,
    every draw says the same; its interval is the exact binomial one (Clopper, Pearson 1934), the bin's accounts as trials.

    >>> reliability_bins([0, 1, 0, 1], [0.1, 0.3, 0.6, 0.8], list("abcd"), bins=2, seed=1)[["rows", "mean_p", "rate"]]
       rows  mean_p  rate
    0     2     0.2   0.5
    1     2     0.7   0.5
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; give 1 or more (10 is usual)")
    labels, scores, codes = _checked(y, p, accounts)
    rows = RankedRows(labels, scores)
    size, expected, observed = ranking.equal_mass_bins(rows.ranking(), bins)

    def rates(weights: FloatArray) -> FloatArray:
        mass, _, up = ranking.equal_mass_bins(rows.ranking(weights), bins)
        found = np.full(bins, np.nan)  # a draw of fewer rows than bins leaves the last ones empty
        found[: len(mass)] = up / mass
        return found

    drawn = bootstrap(rates, codes, len(rows), draws=draws, seed=seed)
    members = np.array_split(codes[np.lexsort((codes, scores))], len(size))
    rate = observed / size
    intervals = [_rate_interval(rate[at], drawn[:, at], len(np.unique(inside))) for at, inside in enumerate(members)]
    low, high = zip(*intervals, strict=True)
    return pd.DataFrame({"rows": size.astype(int), "mean_p": expected / size, "rate": rate, "rate_low": low, "rate_high": high})


def _rate_interval(rate: float, drawn: FloatArray, accounts: int) -> tuple[float, float]:
    if 0 < rate < 1:
        return percentile_interval(drawn)
    exact = binomtest(round(rate) * accounts, accounts).proportion_ci()
    return float(exact.low), float(exact.high)


def by_segment(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    accounts: npt.ArrayLike,
    segments: pd.DataFrame,
    *,
    min_accounts: int = 30,
    min_positive_accounts: int = ENOUGH,
    draws: int = 500,
    seed: int,
) -> list[dict[str, Any]]:
    """Return one JSON record per value of each column of `segments` (rows × columns: a label per row, such as plan or tier).

    `{segment, value, rows, accounts, positives, base_rate, mean_p, evidence, ratio, ratio_low, ratio_high, log_loss,
    log_loss_low, log_loss_high, ece, ece_low, ece_high}`: `ratio` is observed over expected outcomes, Σy / Σp: 1 is right,
    above 1 the risk was told too low. Intervals are 95 %, by accounts drawn within the segment. Rows without a label are the
    value None. With fewer than `min_accounts` accounts, or than `min_positive_accounts` that have the outcome (as at the gate),
    `evidence` is "not enough evidence": counts and means are given, the figures are None.

    >>> few = by_segment([0, 1], [0.1, 0.3], ["a", "b"], pd.DataFrame({"plan": ["pro", "pro"]}), seed=1)[0]
    >>> few["value"], few["accounts"], few["evidence"], few["ratio"]
    ('pro', 2, 'not enough evidence', None)
    """
    labels, scores, codes = _checked(y, p, accounts)
    if len(segments) != len(labels):
        raise ValueError(f"segments has {len(segments)} rows but y has {len(labels)}; give every row its labels")
    found = []
    for name, value, at in _members(segments):
        rows, here = RankedRows(labels[at], scores[at]), codes[at]
        whole, present, positive = rows.ranking(), len(np.unique(here)), len(np.unique(here[labels[at] == 1]))
        enough = present >= min_accounts and positive >= min_positive_accounts
        evidence: Evidence = "enough" if enough else "not enough evidence"
        record: dict[str, Any] = {
            "segment": name,
            "value": value,
            "rows": len(rows),
            "accounts": present,
            "positives": int(whole.positives),
            "base_rate": ranking.base_rate(whole),
            "mean_p": whole.expected / whole.size,
            "evidence": evidence,
        }
        record |= {f"{figure}{end}": None for figure in _FIGURES for end in ("", "_low", "_high")}
        if enough:
            record |= with_intervals(_figures, rows, here, draws=draws, seed=seed)
        found.append(record)
    return found


def _members(segments: pd.DataFrame) -> Iterator[tuple[str, str | None, npt.NDArray[np.intp]]]:
    """Yield column, value and rows of each segment, the rows without a label last."""
    for column in segments.columns:
        numbers, values = pd.factorize(segments[column], sort=True)
        for number, value in enumerate(values):
            yield str(column), str(value), np.flatnonzero(numbers == number)
        if (numbers < 0).any():
            yield str(column), None, np.flatnonzero(numbers < 0)


def _figures(table: Ranking) -> dict[str, float]:
    return {name: figure(table) for name, figure in _FIGURES.items()}


def _checked(y: npt.ArrayLike, p: npt.ArrayLike, accounts: npt.ArrayLike) -> tuple[FloatArray, FloatArray, npt.NDArray[np.intp]]:
    labels = as_labels(y)
    return labels, as_probabilities(p, len(labels)), account_codes(accounts, len(labels))[0]
