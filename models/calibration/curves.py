"""Calibrators that assume no shape but order: isotonic regression and Venn–Abers, both kept as a curve of points."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from models.calibration.base import Calibration, bounded, examples
from models.matrix import FloatArray

#: Venn–Abers answers for at most so many groups of margins: its work is their square. With twice as many it was no better.
GROUPS = 500
#: Margins nearer to each other than this many decimals tell are one: a line between them could be too steep for a number.
_DECIMALS = 9


@dataclass(frozen=True)
class _Curve(Calibration):
    """P = sigmoid of a line through points (margin, logit), in order of the margin; level beyond the first and the last.

    Lines between the points, not steps: accounts inside a group keep their order, and a margin that was right stays right.
    """

    margins: tuple[float, ...]
    logits: tuple[float, ...]

    def __post_init__(self) -> None:
        margins, logits = self._points
        rising = (np.diff(margins) > 0).all() and (np.diff(logits) >= 0).all()
        if not len(margins) or margins.shape != logits.shape or not rising or not np.isfinite([margins, logits]).all():
            raise ValueError(
                f"a {self.kind} calibrator of {len(margins)} margins and {len(logits)} logits: it needs one of each per point, "
                "at least one, all finite, margins rising and logits never falling; train the model again"
            )

    def __call__(self, margin: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of `margin` (logits); nan gives nan."""
        return bounded(expit(np.interp(np.asarray(margin, dtype=np.float64), *self._points)))

    @cached_property
    def _points(self) -> tuple[FloatArray, FloatArray]:
        return np.array(self.margins, dtype=np.float64), np.array(self.logits, dtype=np.float64)

    @classmethod
    def _through(cls, margins: FloatArray, p: FloatArray) -> Self:
        """The curve through p at rising margins; points inside a level stretch are left out, for they say nothing."""
        level = np.diff(p) == 0
        inside = np.append(False, level) & np.append(level, False)
        return cls(tuple(margins[~inside].tolist()), tuple(logit(p[~inside]).tolist()))


@dataclass(frozen=True)
class Isotonic(_Curve):
    """The rising rates that fit best (pool adjacent violators), each block a point at its mean margin.

    Zadrozny and Elkan 2002; joined between the blocks' means as in centred isotonic regression (Oron and Flournoy 2017).
    """

    kind: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows that the scorer had not seen.

        One positive is added at the lowest margin and one negative at the highest. Only the first block can hold no positive
        and only the last no negative; so both answer by the rule of succession, and a few rows claim neither 0 nor 1.

        >>> Isotonic.fit([-3.0, -2.0, -1.0, 1.0], [0, 0, 0, 1])([-5.0, 0.0, 5.0]).round(3).tolist()
        [0.25, 0.409, 0.5]
        """
        at, rows, hits = _by_margin(*examples(margin, y))
        weights, sums = rows.copy(), hits.copy()
        weights[[0, -1]] += 1 if len(at) > 1 else 2
        sums[0] += 1
        starts = isotonic_regression(sums / weights, weights=weights).blocks[:-1]
        total = np.add.reduceat(weights, starts)
        centre = np.add.reduceat(rows * at, starts) / np.add.reduceat(rows, starts)
        # A mean may be rounded to outside of what it is a mean of.
        centre = np.clip(centre, at[starts], at[np.append(starts[1:], len(at)) - 1])
        return cls._through(centre, np.add.reduceat(sums, starts) / total)


@dataclass(frozen=True)
class VennAbers(_Curve):
    """p = p1 / (1 − p0 + p1): what isotonic regression would say were the account a negative (p0) or a positive (p1).

    Inductive Venn–Abers predictors and their merging for log loss: Vovk and Petej 2014.
    """

    kind: ClassVar[str] = "venn_abers"

    @classmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows that the scorer had not seen, in at most `GROUPS` groups of equal mass; equal margins stay together.

        >>> VennAbers.fit([-3.0, -2.0, -1.0, 1.0], [0, 0, 0, 1])([-5.0, 0.0, 5.0]).round(3).tolist()
        [0.2, 0.5, 0.667]
        """
        at, rows, hits = _grouped(*_by_margin(*examples(margin, y)))
        p0, p1 = (_with_one_more(rows, hits, label) for label in (0.0, 1.0))
        return cls._through(at, p1 / (1 - p0 + p1))


def _by_margin(m: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct margins, rising, and the rows and positives at each."""
    m = np.round(m, _DECIMALS)
    starts = np.flatnonzero(np.diff(m, prepend=-np.inf))
    return m[starts], np.diff(np.append(starts, len(m))).astype(np.float64), np.add.reduceat(target, starts)


def _grouped(at: FloatArray, rows: FloatArray, hits: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """At most `GROUPS` groups: their mean margins, rows and positives."""
    group = np.floor((np.cumsum(rows) - rows / 2) / rows.sum() * GROUPS)
    starts = np.flatnonzero(np.diff(group, prepend=-1.0))
    total = np.add.reduceat(rows, starts)
    centre = np.add.reduceat(rows * at, starts) / total
    centre = np.clip(centre, at[starts], at[np.append(starts[1:], len(at)) - 1])
    return centre, total, np.add.reduceat(hits, starts)


def _with_one_more(rows: FloatArray, hits: FloatArray, label: float) -> FloatArray:
    """Return, for each group, its isotonic rate (groups,) were one more row of `label` in it.

    By the max–min formula of isotonic regression (Robertson, Wright, Dykstra 1988): the highest, over stretches that begin at
    or before the group, of the lowest rate of those that end at or after it. All of them hold the added row.
    """
    ends, sums = np.append(0.0, np.cumsum(rows)), np.append(0.0, np.cumsum(hits))
    # stretches (first group × last group); below the diagonal there are none
    length = np.maximum(ends[1:] - ends[:-1, None], 0.0)
    rate = (sums[1:] - sums[:-1, None] + label) / (length + 1)
    lowest = np.minimum.accumulate(rate[:, ::-1], axis=1)[:, ::-1]
    return np.where(np.tri(len(rows), dtype=bool).T, lowest, -np.inf).max(axis=0)
