"""A scorecard as arrays, so that one account costs no more than it must: values → points and weights (domain.md §3).

Each row is reckoned by itself, in one order: an account alone equals the account in a batch, to the bit.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.matrix import FloatArray, positions
from models.scorecard import Scorecard

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Connected:
    """Which tables are connected, for each row by itself: `there` (rows × tables)."""

    tables: tuple[str, ...]
    there: BoolArray

    @property
    def anywhere(self) -> set[str]:
        """The tables that are connected for some row."""
        return {table for place, table in enumerate(self.tables) if self.there[:, place].any()}


class Curves:
    """Piecewise-linear curves, one for each column; knots as in models/scorecard.yaml.

    >>> Curves([[(0, 0), (0.5, 60), (1, 100)], [(0, 100), (10, 0)]])(np.array([[0.75, 2.0]])).tolist()
    [[80.0, 80.0]]
    """

    def __init__(self, knots: Sequence[Sequence[tuple[float, float]]]):
        shape = (len(knots), max(map(len, knots)))
        self._values, self._points, self._slopes = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape)
        for column, curve in enumerate(knots):
            values, points = np.asarray(curve, dtype=np.float64).T
            self._values[column, : len(curve)], self._points[column, : len(curve)] = values, points
            self._slopes[column, : len(curve) - 1] = np.diff(points) / np.diff(values)
        self._lowest, self._highest = self._values[:, 0], np.nanmax(self._values, axis=1)
        self._columns = np.arange(len(knots))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return points at `x` (…, columns): straight between the knots, clamped outside them, NaN where x is NaN."""
        inside = np.clip(x, self._lowest, self._highest)
        knot = np.maximum((inside[..., None] >= self._values).sum(axis=-1) - 1, 0)
        at = (self._columns, knot)
        return self._slopes[at] * (inside - self._values[at]) + self._points[at]


def fade(age_days: float | FloatArray, half_life_days: float | FloatArray) -> FloatArray:
    """Return the factor on a measure's weight: halved with each half-life of its age in days.

    >>> float(fade(180, 90))
    0.25
    """
    return np.exp2(-np.asarray(age_days, dtype=np.float64) / half_life_days)


class Measuring:
    """One scorecard, read from `columns`. Measures stand in the order of their components, which begin at `first`."""

    def __init__(self, card: Scorecard):
        measures, conditions = card.measures, [condition for exception in card.exceptions for condition in exception.when]
        aged = [column for column, measure in enumerate(measures) if measure.age_feature]
        ages = [measures[column].age_feature or "" for column in aged]
        names = [card.use.feature, *(m.feature for m in measures), *ages, *(c.feature for c in conditions)]
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(names))
        self.names: tuple[str, ...] = tuple(measure.feature for measure in measures)
        self.parts: tuple[str, ...] = tuple(part.name for part in card.components)
        self.part_weights = np.array([part.weight for part in card.components])
        self.weights = np.array([measure.weight for measure in measures])
        self.sizes = [len(part.measures) for part in card.components]
        self.first = np.cumsum([0, *self.sizes[:-1]])
        self.caps = {exception.name: exception.cap for exception in card.exceptions}
        self._curves = Curves([measure.knots for measure in measures])
        self._silence = np.array([np.nan if measure.silence is None else measure.silence for measure in measures])
        self._needs_use = np.array([measure.needs_use for measure in measures])
        self._aged, self._half_lives = np.array(aged, dtype=np.intp), np.array([measures[c].half_life_days for c in aged], float)
        self._use, self._measured, self._ages, self._conditions = (
            positions(self.columns, tuple(wanted))
            for wanted in ((card.use.feature,), self.names, ages, [condition.feature for condition in conditions])
        )
        self._bounds = np.array([c.above if c.at_least is None else c.at_least for c in conditions], dtype=np.float64)
        self._or_equal = np.array([condition.at_least is not None for condition in conditions], dtype=np.bool_)
        self._unmet = np.array([condition.silence for condition in conditions])
        belongs = [condition in exception.when for condition in conditions for exception in card.exceptions]
        self._of = np.array(belongs, dtype=np.bool_).reshape(len(conditions), len(card.exceptions))
        needs = [card.use.tables, *(m.tables for m in measures), *(exception.tables for exception in card.exceptions)]
        self._tables: tuple[str, ...] = tuple(sorted({table for tables in needs for table in tables}))
        self._needs = np.array([[table in tables for tables in needs] for table in self._tables], dtype=np.bool_)

    def connected(self, connected: Set[str] | Connected) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Return whether the table of use, and all that each measure and each exception needs, are connected; (rows or 1, …)."""
        if isinstance(connected, Connected):
            places = positions(connected.tables, self._tables)
            lacking = ~connected.there[:, places] | (places < 0)
        else:
            lacking = np.array([[table not in connected for table in self._tables]])
        ready = ~(lacking @ self._needs)
        return ready[:, 0], ready[:, 1 : 1 + len(self.names)], ready[:, 1 + len(self.names) :]

    def measure(self, values: FloatArray, in_use: BoolArray, ready: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Return points (rows × measures), NaN where missing, and the measures' faded weights."""
        given = values.take(self._measured, axis=1)
        points = self._curves(np.where(np.isnan(given), self._silence, given))
        unused = in_use & (np.nan_to_num(values[:, self._use[0]]) == 0)
        points[unused[:, None] & self._needs_use] = 0.0
        weights = np.repeat(self.weights[None], len(values), axis=0)
        age = np.nan_to_num(values.take(self._ages, axis=1)).clip(min=0)
        weights[:, self._aged] *= fade(age, self._half_lives)
        return np.where(ready, points, np.nan), weights

    def holds(self, values: FloatArray, ready: BoolArray) -> BoolArray:
        """Return whether each exception holds (rows × exceptions)."""
        given = values.take(self._conditions, axis=1)
        given = np.where(np.isnan(given), self._unmet, given)
        met = np.where(self._or_equal, given >= self._bounds, given > self._bounds)
        return ready & ~(~met @ self._of)
