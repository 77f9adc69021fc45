"""What every calibrator is: margins in, probabilities out, in the order of the margins (domain.md §4)."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.matrix import FloatArray

#: Probabilities stay within BOUND … 1 − BOUND: no portfolio can tell one in a million from never, and a row then costs at most
#: 13.8 nats. The figures clip there too, so a calibrator is never judged by another probability than the one it gives.
BOUND = 1e-6


@dataclass(frozen=True)
class Calibration(ABC):
    """A fitted calibrator: numbers that map margins (logits) to probabilities, never decreasing, never 0 or 1.

    Never decreasing up to rounding: two margins that differ in their last bits may swap the last bits of their probabilities.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, margin: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows that the scorer had not seen: margins and 0/1 labels, both (rows,), in any order.

        ValueError without a row, on two lengths, a margin that is not finite, or another label than 0 and 1.
        """

    @abstractmethod
    def __call__(self, margin: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of `margin` (logits); nan gives nan."""

    def as_dict(self) -> dict[str, Any]:
        """The kind and its numbers, for JSON; `calibrator_from` gives the calibrator back, bit for bit."""
        return {"kind": self.kind, **asdict(self)}


def bounded(p: FloatArray) -> FloatArray:
    """Keep probabilities within BOUND … 1 − BOUND; nan stays.

    >>> bounded(np.array([0.0, 0.5, 1.0])).tolist()
    [1e-06, 0.5, 0.999999]
    """
    return np.minimum(np.maximum(p, BOUND), 1 - BOUND)


def checked(margin: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return margins and labels (rows,) as floats; ValueError as `Calibration.fit`, naming the row."""
    m, target = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if m.ndim != 1 or m.shape != target.shape or not len(m):
        raise ValueError(f"margins have shape {m.shape} and y {target.shape}; give one of each per row, and at least one row")
    wrong = ~np.isfinite(m)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"the margin is {m[row]} in row {row}; give finite logits: look at the scorer that answered this")
    wrong = ~np.isin(target, (0.0, 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"y is {target[row]} in row {row}; only 0 and 1 are labels: drop immature rows first")
    return m, target


def examples(margin: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return margins and labels in order of margin and label, so that a fit does not depend on the rows' order.

    >>> [values.tolist() for values in examples([0.5, -1.0, 0.5], [1, 0, 0])]
    [[-1.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    """
    m, target = checked(margin, y)
    order = np.lexsort((target, m))
    return m[order], target[order]
