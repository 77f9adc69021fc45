"""Is one model better than another on the same rows: the difference of a figure, over the same draws of accounts for both."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypedDict

import numpy.typing as npt

from training import profit, ranking
from training.intervals import FloatArray, account_codes, bootstrap, percentile_interval
from training.metrics import ranked
from training.ranking import Ranking

Metric = Literal["auc", "average_precision", "lift_top_decile", "empc", "log_loss", "brier"]


class Difference(TypedDict):
    """By how much a is better than b, and the central interval of it; nan where the rows cannot give the figure."""

    difference: float
    low: float
    high: float


class _Figure(NamedTuple):
    value: Callable[[Ranking], float]
    better: Literal[1, -1]  # more is better, or less


def _empc(table: Ranking) -> float:
    return profit.expected_maximum(profit.per_head(table), profit.PER_HEAD)[0]


#: Neither ECE nor the slope is here: the nearer to a mark the better is no difference of two figures, and resampling adds noise
#: to an ECE, the more of it the better the model is.
_FIGURES: Mapping[Metric, _Figure] = {
    "auc": _Figure(ranking.auc, 1),
    "average_precision": _Figure(ranking.average_precision, 1),
    "lift_top_decile": _Figure(ranking.lift_top_decile, 1),
    "empc": _Figure(_empc, 1),
    "log_loss": _Figure(ranking.log_loss, -1),
    "brier": _Figure(ranking.brier, -1),
}


def paired(
    metric: Metric,
    y: npt.ArrayLike,
    p_a: npt.ArrayLike,
    p_b: npt.ArrayLike,
    accounts: npt.ArrayLike,
    *,
    draws: int = 500,
    seed: int,
    level: float = 0.95,
) -> Difference:
    """Return by how much model a is better than model b on the same rows (rows,), with its interval by account.

    Above 0, a is better: the difference is a's figure less b's, or b's less a's where less is better (log_loss, brier). The
    interval is the central percentile interval at `level` over `draws` resamples of the accounts, each the same for both
    models; draws that lack the figure (of one class) are left out. For the one-sided question "is a better at 95 %", take
    `low` at level 0.9. ValueError on an unknown metric, a level outside 0…1, or bad rows.

    >>> y, sure, blind = [0, 1] * 20, [0.1, 0.9] * 20, [0.5] * 40
    >>> paired("auc", y, sure, blind, range(40), seed=1)
    {'difference': 0.5, 'low': 0.5, 'high': 0.5}
    >>> paired("log_loss", y, sure, blind, range(40), seed=1)["low"] > 0
    True
    """
    if metric not in _FIGURES:
        raise ValueError(f"metric is {metric!r}; models are compared by {', '.join(_FIGURES)}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give the share of draws inside the interval, such as 0.95")
    figure = _FIGURES[metric]
    a, b = ranked(y, p_a, "p_a"), ranked(y, p_b, "p_b")
    codes, _ = account_codes(accounts, len(a))

    def lead(weights: FloatArray | None = None) -> float:
        return figure.better * (figure.value(a.ranking(weights)) - figure.value(b.ranking(weights)))

    low, high = percentile_interval(bootstrap(lead, codes, len(a), draws=draws, seed=seed), level)
    return {"difference": lead(), "low": low, "high": high}
