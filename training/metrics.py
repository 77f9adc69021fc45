"""How good are predicted probabilities: ranking, calibration, and profit.

Everywhere `y` (rows,) is 0 or 1 and `p` (rows,) a probability. Rows with equal `p` are never put in an order that the
data does not have, so no figure depends on the order of the rows. A figure that one class alone cannot give is nan
(None in `evaluate`). Bad input is a ValueError that names the argument, the value and what to do.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from training import profit, ranking
from training.intervals import FloatArray, account_codes, bootstrap, gap_interval, percentile_interval
from training.profit import Stakes, Terms
from training.ranking import RankedRows, Ranking
from training.ranking import row_log_loss as row_log_loss

#: The figures that labels and probabilities alone give.
BY_LABEL: Mapping[str, Callable[[Ranking], float]] = {
    "base_rate": ranking.base_rate,
    "auc": ranking.auc,
    "average_precision": ranking.average_precision,
    "lift_top_decile": ranking.lift_top_decile,
    "log_loss": ranking.log_loss,
    "brier": ranking.brier,
    "ece": ranking.ece,
    "calibration_slope": ranking.calibration_slope,
}
_BY_MONEY = (
    *("empc", "empc_fraction", "empc_target_all"),
    *("empc_by_value", "empc_by_value_fraction", "empc_by_value_target_all", "arr_caught_top_decile"),
)
#: Every key of `evaluate` beside the counts: each figure, and its interval.
FIGURES: tuple[str, ...] = tuple(f"{name}{end}" for name in (*BY_LABEL, *_BY_MONEY) for end in ("", "_low", "_high"))


def as_labels(y: npt.ArrayLike) -> FloatArray:
    """Return `y` as floats (rows,); ValueError if it is empty, not flat, or holds anything but 0 and 1."""
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"y has shape {labels.shape}; give one 0 or 1 per row, and at least one row")
    wrong = ~np.isin(labels, (0.0, 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"y is {labels[row]} in row {row}; only 0 and 1 are labels: drop immature rows first")
    return labels


def as_probabilities(p: npt.ArrayLike, rows: int, name: str = "p") -> FloatArray:
    """Return `p` as floats (rows,); ValueError naming `name` on another length, a nan, or a value outside 0…1."""
    probabilities = np.asarray(p, dtype=np.float64)
    if probabilities.shape != (rows,):
        raise ValueError(f"{name} has shape {probabilities.shape} but y has {rows} rows; give one value per row of y")
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} is {probabilities[row]} in row {row}; give probabilities between 0 and 1")
    return probabilities


def as_amounts(value: npt.ArrayLike, rows: int) -> FloatArray:
    """Return `value` as floats (rows,); ValueError on another length, or an amount that is not finite or below 0."""
    amounts = np.asarray(value, dtype=np.float64)
    if amounts.shape != (rows,):
        raise ValueError(f"value has shape {amounts.shape} but y has {rows} rows; give every row its value")
    wrong = ~(np.isfinite(amounts) & (amounts >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"value is {amounts[row]} in row {row}; give amounts of 0 or more")
    return amounts


def ranked(y: npt.ArrayLike, p: npt.ArrayLike, name: str = "p") -> RankedRows:
    """Return the rows sorted for any figure under any weights; ValueError naming `y` or `name` where they are wrong.

    >>> rows = ranked([0, 1, 1], [0.2, 0.1, 0.9])
    >>> BY_LABEL["auc"](rows.ranking(np.array([1.0, 0.0, 2.0])))
    1.0
    """
    labels = as_labels(y)
    return RankedRows(labels, as_probabilities(p, len(labels), name))


def auc(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the chance that a positive ranks above a negative, ties counting half; nan with one class only.

    >>> auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    return ranking.auc(ranked(y, p).ranking())


def average_precision(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the area under the precision-recall steps (scikit-learn's definition); nan without a positive.

    >>> average_precision([0, 1], [0.1, 0.9])
    1.0
    """
    return ranking.average_precision(ranked(y, p).ranking())


def top_decile_lift(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the rate among the ceil(n/10) highest over the rate of all; nan without a positive.

    Rows tied at the border count their mean rate.

    >>> top_decile_lift([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0.9] + [0.1] * 9)
    5.0
    """
    return ranking.lift_top_decile(ranked(y, p).ranking())


def log_loss(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the mean log loss in nats, probabilities clipped by `ranking.CLIP`.

    >>> round(log_loss([0, 1], [0.5, 0.5]), 4)
    0.6931
    """
    return ranking.log_loss(ranked(y, p).ranking())


def brier(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the mean squared error of the probabilities.

    >>> brier([0, 1], [0.5, 0.5])
    0.25
    """
    return ranking.brier(ranked(y, p).ranking())


def ece(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the expected calibration error over 10 equal-mass bins in order of p: mean |Σp − Σy| by bin size.

    Rows tied in p each count the mean label of their tie, so a tie that a bin border cuts gives both bins the same
    rate whatever the order of the rows. Where 10 does not divide n the first bins hold one row more; below 10 rows
    each row is a bin.

    >>> ece([0, 1, 0, 1], [0.5] * 4)
    0.0
    """
    return ranking.ece(ranked(y, p).ranking())


def calibration_slope(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the slope of the logistic regression of y on logit p: 1 is right, below 1 is too sure of itself.

    nan where no finite slope exists: one class, p constant, or the classes apart without overlap in p.
    """
    return ranking.calibration_slope(ranked(y, p).ranking())


def empc(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    clv: float = profit.CLV,
    d: float = profit.OFFER,
    f: float = profit.CONTACT,
    alpha: float = profit.ALPHA,
    beta: float = profit.BETA,
) -> tuple[float, float]:
    """Return the expected maximum profit per account and the share of accounts to contact for it.

    Verbraken, Verbeke, Baesens (2013), doi 10.1109/TKDE.2012.50: every account is worth `clv` (default 200), the offer costs
    `d` (10), a contact `f` (1), in one currency; the share g of churners who accept is Beta(alpha, beta) (6, 14). It is
    `empc_by_value` with one value for all, as the corners of the ROC curve's convex hull are the best cuts.

    >>> value, fraction = empc([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9])
    >>> round(value, 6), round(fraction, 6)
    (28.0, 0.5)
    """
    if not (np.isfinite(clv) and clv > 0):
        raise ValueError(f"clv is {clv}; give the lifetime value of an account, above 0")
    if not 0 <= d <= clv:
        raise ValueError(f"d is {d}; an offer costs between 0 and clv ({clv}): give both in one currency")
    return empc_by_value(y, p, np.full(np.size(y), float(clv)), d / clv, f, alpha, beta)


def empc_by_value(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    value: npt.ArrayLike,
    delta: float,
    f: float,
    alpha: float = profit.ALPHA,
    beta: float = profit.BETA,
) -> tuple[float, float]:
    """Return the expected maximum profit per account, and the share to contact, where accounts differ in value.

    Contacting a churner of value v brings g(1 − delta)v − f, anyone else −delta·v − f, with g ~ Beta(alpha, beta); for
    each g the best cut of the ranking by `p` is taken (tied rows stay together, and of equally good cuts the smallest
    is taken). `value` (rows,) and `f` ≥ 0 are in one currency, delta in 0…1.
    """
    labels = as_labels(y)
    scores = as_probabilities(p, len(labels))
    worth = as_amounts(value, len(labels))
    order = np.lexsort((worth, labels, scores))
    terms = Terms(delta, f, alpha, beta)
    stakes = profit.by_value(RankedRows(labels[order], scores[order], worth[order]).ranking(), terms)
    return profit.expected_maximum(stakes, terms)


def nps(answers: npt.ArrayLike) -> float:
    """Return the net promoter score, −100 … 100: % answering 9–10 less % answering 0–6 (domain.md §5).

    ValueError without an answer, or on one outside 0 … 10; unanswered surveys are left out before.

    >>> nps([10, 9, 7, 3])
    25.0
    """
    given = np.asarray(answers, dtype=np.float64)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(f"answers has shape {given.shape}; give at least one answer, or report no score")
    wrong = ~((given >= 0) & (given <= 10))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"answers is {given[row]} in row {row}; give 0 to 10, without the unanswered surveys")
    return float(100 * (np.count_nonzero(given >= 9) - np.count_nonzero(given <= 6)) / given.size)


def evaluate(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    accounts: npt.ArrayLike,
    *,
    value: npt.ArrayLike | None = None,
    terms: Terms = profit.BY_VALUE,
    draws: int = 500,
    seed: int,
) -> dict[str, int | float | None]:
    """Return every figure of a test period, ready for JSON: a figure that cannot be given is None.

    `accounts` (rows,) says whose row it is. Each figure has its 95 % interval beside it, `_low` and `_high` (`FIGURES` lists
    them), over `draws` resamples of the accounts, the same for all; those without the figure (of one class only) are left out.

    `empc` is the expected maximum profit per row on the published terms and `empc_fraction` the share contacted for it;
    `empc_target_all` is what contacting everybody brings on the same terms, and contacting nobody brings 0. The same three
    by value take for each row its `value`, the ARR at stake (rows,) in the reporting currency, and `terms`, of that currency.
    `arr_caught_top_decile` is the top tenth's share of the ARR of the rows with the outcome; rows tied at the border count
    their mean. Without `value` these four are None.
    """
    labels = as_labels(y)
    scores = as_probabilities(p, len(labels))
    amounts = None if value is None else as_amounts(value, len(labels))
    codes, count = account_codes(accounts, len(labels))
    # One order of the rows for all sums of money, so that the same rows in another order give the same bits.
    order = np.lexsort((codes, labels, scores) if amounts is None else (codes, amounts, labels, scores))
    rows = RankedRows(labels[order], scores[order], None if amounts is None else amounts[order])

    def figures(table: Ranking) -> dict[str, float]:
        found = {name: figure(table) for name, figure in BY_LABEL.items()}
        found |= _profits("empc", profit.per_head(table), profit.PER_HEAD)
        if amounts is not None:
            found |= _profits("empc_by_value", profit.by_value(table, terms), terms)
            found |= {"arr_caught_top_decile": ranking.arr_caught_top_decile(table)}
        return found

    found = with_intervals(figures, rows, codes[order], draws=draws, seed=seed)
    return {
        "rows": len(labels),
        "accounts": count,
        "positives": int(labels.sum()),
        **{name: None if np.isnan(found.get(name, np.nan)) else found[name] for name in FIGURES},
    }


def with_intervals(
    figures: Callable[[Ranking], dict[str, float]],
    rows: RankedRows,
    accounts: npt.ArrayLike,
    *,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Return each of `figures` with its 95 % interval by account, `name`, `name_low`, `name_high`; nan where there is none.

    The central percentiles of one bootstrap for all; that of `ece` is `intervals.gap_interval`.
    """
    table = rows.ranking()
    estimates = figures(table)

    def drawn(weights: FloatArray) -> list[float]:
        resampled = rows.ranking(weights)
        return [*figures(resampled).values(), *resampled.gaps]

    values = bootstrap(drawn, accounts, len(rows), draws=draws, seed=seed)
    found: dict[str, float] = {}
    for at, (name, estimate) in enumerate(estimates.items()):
        low, high = gap_interval(table.gaps, values[:, len(estimates) :]) if name == "ece" else percentile_interval(values[:, at])
        found |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
    return found


def _profits(name: str, stakes: Stakes, terms: Terms) -> dict[str, float]:
    best, fraction = profit.expected_maximum(stakes, terms)
    return {name: best, f"{name}_fraction": fraction, f"{name}_target_all": profit.target_all(stakes, terms)}
