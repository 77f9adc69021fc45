"""How good are predicted probabilities: ranking, calibration, and profit.

Everywhere `y` (rows,) is 0 or 1 and `p` (rows,) a probability. Rows with equal `p` are never put in an order that the
data does not have, so no figure depends on the order of the rows. A figure that one class alone cannot give is nan
(None in `evaluate`). Bad input is a ValueError that names the argument, the value and what to do.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betainc, expit, logit
from sklearn.metrics import average_precision_score

from training.intervals import FloatArray, account_codes, bootstrap, percentile_interval

#: Probabilities are clipped to [1e-6, 1 − 1e-6] before a logarithm. One row then costs at most 13.8: no portfolio can
#: tell one in a million from never, and at 1e-15 a single wrong 0 (cost 34.5) could decide a comparison of models.
CLIP = 1e-6
ECE_BINS = 10


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


def _checked(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    labels = as_labels(y)
    return labels, as_probabilities(p, len(labels))


def weighted_auc(y: npt.ArrayLike, p: npt.ArrayLike) -> Callable[[FloatArray], float]:
    """Sort once; return the function row weights (rows,) → AUC, for many weightings of the same rows.

    >>> weighted_auc([0, 1, 1], [0.2, 0.1, 0.9])(np.array([1.0, 0.0, 2.0]))
    1.0
    """
    labels, scores = _checked(y, p)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-1.0))
    positive = labels[order]

    def value(weights: FloatArray) -> float:
        sorted_weights = weights[order]
        up = np.add.reduceat(sorted_weights * positive, starts)
        down = np.add.reduceat(sorted_weights * (1 - positive), starts)
        pairs = up.sum() * down.sum()
        return float(up @ (np.cumsum(down) - down / 2) / pairs) if pairs > 0 else float("nan")

    return value


def auc(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the chance that a positive ranks above a negative, ties counting half; nan with one class only.

    >>> auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    return weighted_auc(y, p)(np.ones(np.size(y)))


def average_precision(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the area under the precision-recall steps (scikit-learn's definition); nan without a positive.

    >>> average_precision([0, 1], [0.1, 0.9])
    1.0
    """
    labels, scores = _checked(y, p)
    return float(average_precision_score(labels, scores)) if labels.any() else float("nan")


def top_decile_lift(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the rate among the ceil(n/10) highest over the rate of all; nan without a positive.

    Rows tied at the border count their mean rate.

    >>> top_decile_lift([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0.9] + [0.1] * 9)
    5.0
    """
    labels, scores = _checked(y, p)
    if not labels.any():
        return float("nan")
    top = -(-len(scores) // 10)
    border = np.partition(scores, -top)[-top]
    above = scores > border
    hits = labels[above].sum() + (top - above.sum()) * labels[scores == border].mean()
    return float(hits / top / labels.mean())


def row_log_loss(y: FloatArray, p: FloatArray) -> FloatArray:
    """Return the log loss of every row in nats (rows,), probabilities clipped by `CLIP`; for checked arrays."""
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return -np.where(y == 1, np.log(clipped), np.log1p(-clipped))


def log_loss(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the mean log loss in nats, probabilities clipped by `CLIP`.

    >>> round(log_loss([0, 1], [0.5, 0.5]), 4)
    0.6931
    """
    return float(row_log_loss(*_checked(y, p)).mean())


def brier(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the mean squared error of the probabilities.

    >>> brier([0, 1], [0.5, 0.5])
    0.25
    """
    labels, scores = _checked(y, p)
    return float(np.mean((labels - scores) ** 2))


def ece(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the expected calibration error over 10 equal-mass bins in order of p: mean |Σp − Σy| by bin size.

    Rows tied in p each count the mean label of their tie, so a tie that a bin border cuts gives both bins the same
    rate whatever the order of the rows. Where 10 does not divide n the first bins hold one row more; below 10 rows
    each row is a bin.

    >>> ece([0, 1, 0, 1], [0.5] * 4)
    0.0
    """
    labels, scores = _checked(y, p)
    _, tie, size = np.unique(scores, return_inverse=True, return_counts=True)
    rate = (np.bincount(tie, labels) / size)[tie]
    bins = np.array_split(np.argsort(scores, kind="stable"), min(ECE_BINS, len(scores)))
    return float(sum(abs((scores[rows] - rate[rows]).sum()) for rows in bins) / len(scores))


def calibration_slope(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the slope of the logistic regression of y on logit p: 1 is right, below 1 is too sure of itself.

    nan where no finite slope exists: one class, p constant, or the classes apart without overlap in p.
    """
    labels, scores = _checked(y, p)
    x = logit(np.clip(scores, CLIP, 1 - CLIP))
    up, down = x[labels == 1], x[labels == 0]
    if not (up.size and down.size) or up.min() >= down.max() or down.min() >= up.max():
        return float("nan")
    scale = x.std()
    design = np.column_stack([np.ones(len(x)), (x - x.mean()) / scale])

    def loss(b: FloatArray) -> tuple[float, FloatArray]:
        margin = design @ b
        return float(np.mean(np.logaddexp(0, margin) - labels * margin)), design.T @ (expit(margin) - labels) / len(x)

    fitted = minimize(loss, np.array([logit(labels.mean()), 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8})
    return float(fitted.x[1] / scale)


def empc(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    clv: float = 200,
    d: float = 10,
    f: float = 1,
    alpha: float = 6,
    beta: float = 14,
) -> tuple[float, float]:
    """Return the expected maximum profit per account and the share of accounts to contact for it.

    Verbraken, Verbeke, Baesens (2013), doi 10.1109/TKDE.2012.50: every account is worth `clv`, the offer costs `d`, a
    contact `f` (one currency); the share g of churners who accept is Beta(alpha, beta). It is `empc_by_value` with
    one value for all, as the corners of the ROC curve's convex hull are the best cuts.

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
    alpha: float = 6,
    beta: float = 14,
) -> tuple[float, float]:
    """Return the expected maximum profit per account, and the share to contact, where accounts differ in value.

    Contacting a churner of value v brings g(1 − delta)v − f, anyone else −delta·v − f, with g ~ Beta(alpha, beta); for
    each g the best cut of the ranking by `p` is taken (tied rows stay together, and of equally good cuts the smallest
    is taken). Exact: profit is a line in g for each cut, so the best profit is the lines' upper envelope, integrated
    piece by piece through the incomplete beta function. `value` (rows,) and `f` ≥ 0 are in one currency, delta in 0…1.
    """
    labels, scores = _checked(y, p)
    worth = np.asarray(value, dtype=np.float64)
    if worth.shape != labels.shape:
        raise ValueError(f"value has shape {worth.shape} but y has {len(labels)} rows; give every row its value")
    if not (np.isfinite(worth) & (worth >= 0)).all():
        row = int(np.argmin(np.isfinite(worth) & (worth >= 0)))
        raise ValueError(f"value is {worth[row]} in row {row}; give amounts of 0 or more")
    if not 0 <= delta <= 1:
        raise ValueError(f"delta is {delta}; give the offer's cost as a share of the value, 0 to 1")
    if not (np.isfinite(f) and f >= 0):
        raise ValueError(f"f is {f}; give the cost of one contact, 0 or more")
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"alpha and beta are {alpha} and {beta}; both parameters of the beta law must be above 0")

    order = np.lexsort((worth, labels, -scores))
    ranked, churner, stake = scores[order], labels[order], worth[order]
    cuts = np.append(0, np.flatnonzero(np.diff(ranked, append=-1.0)) + 1)
    gain = np.append(0.0, np.cumsum((1 - delta) * stake * churner))[cuts] / len(ranked)
    cost = np.append(0.0, np.cumsum(f + delta * stake * (1 - churner)))[cuts] / len(ranked)
    # A cut that wins no churner more than the one before it is never better.
    useful = np.append(0, np.flatnonzero(np.diff(gain) > 0) + 1)
    hull = _lower_hull(gain[useful], cost[useful])
    gain, cost, share = gain[useful][hull], cost[useful][hull], cuts[useful][hull] / len(ranked)

    with np.errstate(over="ignore"):  # a gain next to nothing: worth it at no g
        change = np.clip(np.diff(cost) / np.diff(gain), 0, 1)
    edges = np.concatenate([[0.0], change, [1.0]])
    probability = np.diff(betainc(alpha, beta, edges))
    mean_g = alpha / (alpha + beta) * np.diff(betainc(alpha + 1, beta, edges))
    return float(gain @ mean_g - cost @ probability), float(share @ probability)


def _lower_hull(x: FloatArray, y: FloatArray) -> list[int]:
    """Return the indices of the corners of the lower convex hull; `x` rises strictly."""
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    hull: list[int] = []
    for index, (right, above) in enumerate(points):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = points[hull[-2]], points[hull[-1]]
            if (y1 - y0) * (right - x1) < (above - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append(index)
    return hull


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
    y: npt.ArrayLike, p: npt.ArrayLike, accounts: npt.ArrayLike, *, draws: int = 500, seed: int
) -> dict[str, int | float | None]:
    """Return every figure of a test period, ready for JSON: a figure that cannot be given is None.

    `accounts` (rows,) says whose row it is. auc_low and auc_high are the 95 % percentile interval over `draws`
    resamples of the accounts; resamples with one class only are left out. `empc` is the value with default terms.
    """
    labels, scores = _checked(y, p)
    codes, count = account_codes(accounts, len(labels))
    # One order of the rows for all sums, so that the same rows in another order give the same bits.
    order = np.lexsort((codes, labels, scores))
    labels, scores, codes = labels[order], scores[order], codes[order]
    low, high = percentile_interval(bootstrap(weighted_auc(labels, scores), codes, len(labels), draws=draws, seed=seed))
    figures: dict[str, float] = {
        "base_rate": float(labels.mean()),
        "auc": auc(labels, scores),
        "auc_low": low,
        "auc_high": high,
        "average_precision": average_precision(labels, scores),
        "lift_top_decile": top_decile_lift(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier(labels, scores),
        "ece": ece(labels, scores),
        "calibration_slope": calibration_slope(labels, scores),
        "empc": empc(labels, scores)[0],
    }
    return {
        "rows": len(labels),
        "accounts": count,
        "positives": int(labels.sum()),
        **{name: None if np.isnan(figure) else figure for name, figure in figures.items()},
    }
