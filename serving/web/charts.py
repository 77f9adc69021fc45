"""Where the marks of the charts stand, in percent of their box; `templates/charts.html.jinja` draws them as SVG.

Drawn by hand rather than by Vega: its first chart costs a second and each process 90 MB more, its SVG has fixed colours and a
fixed width, so that it neither follows a dark theme nor stays readable on a telephone.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from models.health import BANDS

#: A scale of probabilities ends at one of these.
_TOPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
#: A survival curve is drawn down to one of these.
_FLOORS = (0.8, 0.6, 0.2, 0.0)
#: At most this many dates are written below a chart.
_DATES = 5
_MONTH_DAYS = 30
#: A history longer than this is marked by months.
_LONG_DAYS = 90
_AWAY_FROM_THE_EDGE = 8.0
#: A waterfall keeps this far from the sides.
_EDGE = 2.0


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and the value there."""

    at: float
    value: Any

    @property
    def anchor(self) -> str:
        """How a label is set so that it stays inside the box."""
        near_start, near_end = self.at < _AWAY_FROM_THE_EDGE, self.at > 100 - _AWAY_FROM_THE_EDGE
        return "start" if near_start else "end" if near_end else "middle"


@dataclass(frozen=True)
class Line:
    """A line over a box of 100 × 100, y downwards: its points, ticks of both axes, and a mark to be named (None: none)."""

    points: tuple[tuple[float, float], ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    mark: float | None = None

    @property
    def path(self) -> str:
        """The points as SVG writes them.

        >>> Line(((0, 10), (100, 20.5)), (), ()).path
        '0,10 100,20.5'
        """
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)


@dataclass(frozen=True)
class Interval:
    """A probability on a scale from 0: where it, its interval and the base rate stand."""

    low: float
    at: float
    high: float
    base: float | None

    @property
    def width(self) -> float:
        """Of the interval."""
        return round(self.high - self.low, 2)


@dataclass(frozen=True)
class Step:
    """One bar of a waterfall: from where, how wide, and where the sum stands after it."""

    left: float
    width: float
    after: float

    @property
    def before(self) -> float:
        """Where the sum stood before it."""
        return round(self.left + self.width, 2) if self.after == self.left else self.left


def scale_top(predictions: Iterable[Mapping[str, Any] | None], share: float = 1.0) -> float:
    """The end of a scale that holds that share of the intervals, so that bars beside each other can be compared.

    >>> scale_top([{"high": 0.23}, {"high": 0.07}, None]), scale_top([{"high": 0.23}, {"high": 0.07}], share=0.5)
    (0.3, 0.1)
    """
    highs = sorted(each["high"] for each in predictions if each)
    highest = highs[math.ceil(share * len(highs)) - 1] if highs else 0.0
    return next(top for top in _TOPS if highest <= top)


def interval(prediction: Mapping[str, Any], top: float) -> Interval:
    """Place a prediction on a scale that ends at `top`; what lies beyond stands at its end.

    >>> interval({"probability": 0.1, "low": 0.05, "high": 0.3, "base_rate": None}, 0.2)
    Interval(low=25.0, at=50.0, high=100.0, base=None)
    """
    low, at, high, base = (
        None if prediction[name] is None else min(round(100 * prediction[name] / top, 2), 100.0)
        for name in ("low", "probability", "high", "base_rate")
    )
    return Interval(low or 0.0, at or 0.0, high or 0.0, base)


def waterfall(base: float, contributions: Sequence[float]) -> tuple[float, list[Step]]:
    """Return where the base value stands, and a bar per contribution, each beginning where the sum before it ends.

    >>> waterfall(-4.0, [3.0, -1.0])
    (2.0, [Step(left=2.0, width=96.0, after=98.0), Step(left=66.0, width=32.0, after=66.0)])
    """
    sums = list(itertools.accumulate(contributions, initial=base))
    lowest, span = min(sums), max(sums) - min(sums)
    places = [_EDGE + (100 - 2 * _EDGE) * (each - lowest) / span if span else 50.0 for each in sums]
    steps = [
        Step(round(min(before, after), 2), round(abs(after - before), 2), round(after, 2))
        for before, after in itertools.pairwise(places)
    ]
    return round(places[0], 2), steps


def history(points: Sequence[tuple[date, int]]) -> Line | None:
    """The health score over time, 0 to 100 points; None without a score."""
    if not points:
        return None
    first, last = points[0][0], points[-1][0]
    days = (last - first).days
    placed = tuple((round(100 * (day - first).days / days, 2) if days else 50.0, 100.0 - score) for day, score in points)
    y_ticks = tuple(Tick(100.0 - value, value) for value in (0, *sorted(lowest for _, lowest in BANDS if lowest), 100))
    dates = _month_starts(first, last) if days > _LONG_DAYS else sorted({first, last})
    x_ticks = tuple(Tick(100 * (day - first).days / days if days else 50.0, day) for day in dates)
    return Line(placed, y_ticks, x_ticks)


def _month_starts(first: date, last: date) -> list[date]:
    """First days of months, evenly far apart, few enough to be written side by side.

    >>> [f"{day:%m/%y}" for day in _month_starts(date(2025, 9, 2), date(2026, 7, 1))]
    ['10/25', '12/25', '02/26', '04/26', '06/26']
    """
    numbers = range(first.year * 12 + first.month - (first.day == 1), last.year * 12 + last.month)
    starts = [date(number // 12, number % 12 + 1, 1) for number in numbers]
    return starts[:: -(-len(starts) // _DATES)]


def curve(survival: Sequence[Mapping[str, Any]], renewal_days: int | None) -> Line:
    """The share that stays, from today to the end of the curve; `renewal_days` ahead is marked where the curve reaches it."""
    end = survival[-1]["days"]
    lowest = min(each["survival"] for each in survival)
    floor = next(bottom for bottom in _FLOORS if lowest >= bottom)
    height = 1.0 - floor
    placed = ((0.0, 0.0), *((100 * each["days"] / end, 100 * (1 - each["survival"]) / height) for each in survival))
    y_ticks = tuple(Tick(25.0 * k, 1 - height * k / 4) for k in range(5))
    months = range(0, round(end / _MONTH_DAYS) + 1, 3)
    x_ticks = tuple(Tick(100 * month * _MONTH_DAYS / end, month) for month in months)
    mark = 100 * renewal_days / end if renewal_days is not None and 0 <= renewal_days <= end else None
    return Line(tuple((round(x, 2), round(y, 2)) for x, y in placed), y_ticks, x_ticks, mark)
