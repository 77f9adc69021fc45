"""Rows as a ranking: the distinct probabilities, highest first, and the weight of positives and negatives at each.

Every figure of `training.metrics` is a function of this table alone. So tied rows are never put in an order that the data
does not have, a row of weight 2 counts as two equal rows, and a bootstrap sorts once for all its draws. A figure that the
table cannot give is nan.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from training.intervals import FloatArray

#: Probabilities are clipped to [1e-6, 1 − 1e-6] before a logarithm. One row then costs at most 13.8: no portfolio can
#: tell one in a million from never, and at 1e-15 a single wrong 0 (cost 34.5) could decide a comparison of models.
CLIP = 1e-6
ECE_BINS = 10
_STEPS = 200


def row_log_loss(y: FloatArray, p: FloatArray) -> FloatArray:
    """Return the log loss of every row in nats (rows,), probabilities clipped by `CLIP`; for checked arrays."""
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return -np.where(y == 1, np.log(clipped), np.log1p(-clipped))


class RankedRows:
    """Rows of labels `y` and probabilities `p`, both (rows,), sorted once for many weightings.

    `value` (rows,) is the money at stake; without it each row counts one. For checked arrays. Sums of money depend on the order
    of the rows in their last bits: give sorted rows where that matters.

    >>> RankedRows(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9])).ranking().up.tolist()
    [1.0, 1.0]
    """

    def __init__(self, y: FloatArray, p: FloatArray, value: FloatArray | None = None) -> None:
        distinct, tie = np.unique(p, return_inverse=True)
        self.p: FloatArray = distinct[::-1]
        self._tie = len(distinct) - 1 - tie
        self._positive = np.flatnonzero(y)
        self._value = value
        self._value_of_negatives = None if value is None else value * (1 - y)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._tie)

    def ranking(self, weights: FloatArray | None = None) -> "Ranking":
        """Return the table where row i counts `weights[i]` times (rows,), whole numbers of 0 or more; None: each once."""
        given = np.ones(len(self)) if weights is None else weights
        total, up = self._sum(given), self._sum_of_positives(given)
        if self._value is None or self._value_of_negatives is None:
            return Ranking(self, total, up, up, total - up)
        return Ranking(self, total, up, self._sum_of_positives(given * self._value), self._sum(given * self._value_of_negatives))

    def _sum(self, amounts: FloatArray) -> FloatArray:
        return np.bincount(self._tie, amounts, minlength=len(self.p)).astype(np.float64, copy=False)

    def _sum_of_positives(self, amounts: FloatArray) -> FloatArray:
        found = np.bincount(self._tie[self._positive], amounts[self._positive], minlength=len(self.p))
        return found.astype(np.float64, copy=False)

    @cached_property
    def loss(self) -> tuple[FloatArray, FloatArray]:
        """Log loss of a negative and of a positive at each p."""
        return row_log_loss(np.zeros_like(self.p), self.p), row_log_loss(np.ones_like(self.p), self.p)

    @cached_property
    def log_odds(self) -> FloatArray:
        """Logit of each p, clipped by `CLIP`."""
        return logit(np.clip(self.p, CLIP, 1 - CLIP))

    @cached_property
    def line(self) -> FloatArray:
        """Intercept and slope of the regression of all rows on `log_odds`, where the search for a draw's line starts."""
        return _fitted_line(self.ranking(), np.array([0.0, 1.0]))


@dataclass(frozen=True)
class Ranking:
    """Per distinct p of `rows`, highest first, all (k,): the weight of its rows (`total`) and of the positives (`up`).

    `value_up` and `value_down` are the money at stake on positives and on negatives, weighted likewise.
    """

    rows: RankedRows
    total: FloatArray
    up: FloatArray
    value_up: FloatArray
    value_down: FloatArray

    @cached_property
    def down(self) -> FloatArray:
        """Weight of the negatives."""
        return self.total - self.up

    @cached_property
    def size(self) -> float:
        """Weight of all rows."""
        return float(self.total.sum())

    @cached_property
    def positives(self) -> float:
        """Weight of all positives."""
        return float(self.up.sum())

    @cached_property
    def expected(self) -> float:
        """Weighted sum of p."""
        return float(self.total @ self.rows.p)

    @cached_property
    def gaps(self) -> FloatArray:
        """(Σp − Σy) / size of each of `ECE_BINS` equal-mass bins, lowest p first; 0 for the bins that fewer rows leave empty."""
        _, expected, observed = equal_mass_bins(self, ECE_BINS)
        gaps = np.zeros(ECE_BINS)
        gaps[: len(expected)] = (expected - observed) / self.size
        return gaps

    @cached_property
    def steps(self) -> npt.NDArray[np.intp]:
        """Where positives stand, highest p first."""
        return np.flatnonzero(self.up > 0)

    @cached_property
    def total_above(self) -> FloatArray:
        """Weight of the rows above each cut, (k + 1,): nobody first, everybody last."""
        return running(self.total)

    @cached_property
    def up_above(self) -> FloatArray:
        """Weight of the positives above each cut, (k + 1,)."""
        return running(self.up)

    @cached_property
    def value_up_above(self) -> FloatArray:
        """Money at stake on the positives above each cut, (k + 1,)."""
        return running(self.value_up)

    @cached_property
    def value_down_above(self) -> FloatArray:
        """Money at stake on the negatives above each cut, (k + 1,)."""
        return running(self.value_down)

    def in_top_tenth(self, above: FloatArray) -> float:
        """Return what the ceil(size/10) highest hold of a sum that runs over the cuts (k + 1,); a tie at the border its mean."""
        return float(np.interp(-(-self.size // 10), self.total_above, above))


def running(amounts: FloatArray) -> FloatArray:
    """Return the running sums with a 0 before them, (k + 1,).

    >>> running(np.array([1.0, 2.0])).tolist()
    [0.0, 1.0, 3.0]
    """
    sums = np.zeros(len(amounts) + 1)
    np.cumsum(amounts, out=sums[1:])
    return sums


def base_rate(ranking: Ranking) -> float:
    """Return the share of positives."""
    return ranking.positives / ranking.size


def auc(ranking: Ranking) -> float:
    """Return the chance that a positive stands above a negative, ties counting half."""
    pairs = ranking.positives * (ranking.size - ranking.positives)
    if pairs == 0:
        return float("nan")
    steps = ranking.steps
    below = (ranking.size - ranking.total_above[steps + 1]) - (ranking.positives - ranking.up_above[steps + 1])
    return float(ranking.up[steps] @ (below + ranking.down[steps] / 2) / pairs)


def average_precision(ranking: Ranking) -> float:
    """Return the area under the precision-recall steps."""
    if ranking.positives == 0:
        return float("nan")
    steps = ranking.steps
    precision = ranking.up_above[steps + 1] / ranking.total_above[steps + 1]
    return float(ranking.up[steps] @ precision / ranking.positives)


def lift_top_decile(ranking: Ranking) -> float:
    """Return the rate in the top tenth over the rate of all."""
    if ranking.positives == 0:
        return float("nan")
    return ranking.in_top_tenth(ranking.up_above) / -(-ranking.size // 10) / base_rate(ranking)


def arr_caught_top_decile(ranking: Ranking) -> float:
    """Return the top tenth's share of the money at stake on positives; nan without such money."""
    caught = ranking.value_up_above
    return ranking.in_top_tenth(caught) / float(caught[-1]) if caught[-1] > 0 else float("nan")


def log_loss(ranking: Ranking) -> float:
    """Return the mean log loss in nats."""
    negative, positive = ranking.rows.loss
    return float(ranking.down @ negative + ranking.up @ positive) / ranking.size


def brier(ranking: Ranking) -> float:
    """Return the mean squared error."""
    p = ranking.rows.p
    return float(ranking.down @ p**2 + ranking.up @ (1 - p) ** 2) / ranking.size


def equal_mass_bins(ranking: Ranking, bins: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the weight of each bin, its sum of p and its positives, all (bins,), lowest p first.

    A tie that a border cuts gives both bins its mean label. Where `bins` does not divide the weight the first bins hold one
    more; below `bins` rows each is a bin.
    """
    count = min(bins, int(ranking.size))
    size, rest = divmod(ranking.size, count)
    lowest = np.arange(count + 1)
    at = ranking.size - (lowest * size + np.minimum(lowest, rest))
    expected, observed = (
        np.interp(at, ranking.total_above, above) for above in (running(ranking.total * ranking.rows.p), ranking.up_above)
    )
    return -np.diff(at), -np.diff(expected), -np.diff(observed)


def ece(ranking: Ranking) -> float:
    """Return the expected calibration error: the sum of the gaps' sizes."""
    return float(np.abs(ranking.gaps).sum())


def observed_over_expected(ranking: Ranking) -> float:
    """Return Σy / Σp; nan where nothing is expected."""
    return ranking.positives / ranking.expected if ranking.expected > 0 else float("nan")


def calibration_slope(ranking: Ranking) -> float:
    """Return the slope of the logistic regression of the label on logit p."""
    x, up, down = ranking.rows.log_odds, ranking.steps, np.flatnonzero(ranking.down > 0)
    if not (up.size and down.size) or x[up[-1]] >= x[down[0]] or x[down[-1]] >= x[up[0]]:
        return float("nan")
    return float(_fitted_line(ranking, ranking.rows.line)[1])


def _fitted_line(ranking: Ranking, start: FloatArray) -> FloatArray:
    """Return intercept and slope of the largest likelihood by Newton's method; nan where it ends nowhere.

    A step that moves no row's log odds by more than r is shortened by log(1 + r) / r: for this loss that converges from
    anywhere, and at full speed near the end (Sun, Tran-Dinh 2019, generalized self-concordant functions).
    """
    found = np.flatnonzero(ranking.total > 0)
    x, total, up = ranking.rows.log_odds[found], ranking.total[found], ranking.up[found]
    centre = float(total @ x) / ranking.size
    z = x - centre
    line = np.array([start[0] + start[1] * centre, start[1]])
    for _ in range(_STEPS):
        p = 0.5 + 0.5 * np.tanh(0.5 * (line[0] + line[1] * z))  # the logistic function, without overflow
        error, spread = total * p - up, total * p * (1 - p)
        tilt = spread * z
        curvature = np.array([[spread.sum(), tilt.sum()], [tilt.sum(), tilt @ z]])
        step = np.linalg.solve(curvature, [error.sum(), error @ z])
        moved = float(np.abs(step[0] + step[1] * z[[0, -1]]).max())
        if moved < 1e-7:  # so near the end, a whole step ends at it
            line = line - step
            return np.array([line[0] - line[1] * centre, line[1]])
        line = line - step * (np.log1p(moved) / moved)
    return np.full(2, np.nan)
