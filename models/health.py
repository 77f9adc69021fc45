"""The health score (terveysindeksi): rule-based, 0–100, from a declared scorecard (domain.md §3).

One rule for one account and for all: `combine` runs the code of `score` on one row. Points are integers of 10⁻⁶, so the
total is rounded half-up exactly, before banding.

>>> combine({"usage": 79, "engagement": 79, "support": 80, "business": 81, "feedback": 80})
Health(score=80, band='healthy', coverage=1.0, provisional=False, bound_by=None)
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.snapshots import Snapshot
from models.matrix import FloatArray, Matrix, Table, known_values_of, values_of
from models.measuring import BoolArray, Connected, Curves, Measuring, fade
from models.scorecard import Scorecard, default_scorecard, load_scorecard

__all__ = [
    "BANDS",
    "FULL_COVERAGE",
    "NO_SCORE",
    "Connected",
    "Health",
    "HealthScores",
    "Scorecard",
    "combine",
    "curve",
    "default_scorecard",
    "fade",
    "inputs",
    "inputs_of",
    "load_scorecard",
    "score",
]

MICRO = 10**6

#: Lowest points of each band, highest first.
BANDS = (("healthy", 80), ("neutral", 50), ("at_risk", 20), ("critical", 0))
#: Below this coverage a score is provisional: it has no band.
FULL_COVERAGE = 0.5
#: Why an account has no score at all.
NO_SCORE = {
    "not_connected": {
        "en": "no table that the scorecard measures is connected",
        "fi": "yhtään mittariston taulua ei ole kytketty",
    },
    "nothing_measured": {
        "en": "the connected tables hold nothing that could be measured",
        "fi": "kytketyissä tauluissa ei ole mitään mitattavaa",
    },
}
#: Columns that only exceptions read, and the feature that each one is; beside them, whether notice stands.
_ALSO = {"days_since_active_user": "days_since_last_use", "account_age_days": "tenure_days"}
_NOTICE = "notice_given"
_BAND_NAMES: npt.NDArray[np.object_] = np.array([*(name for name, _ in BANDS), None], dtype=object)
_FLOORS = np.array([lowest for _, lowest in BANDS])


def curve(knots: Sequence[tuple[float, float]], x: float | FloatArray) -> FloatArray:
    """Return points at `x`: straight between the knots (value, points), clamped outside them, NaN where x is NaN.

    >>> float(curve([(0, 0), (0.5, 60), (1, 100)], 0.75))
    80.0
    """
    return Curves([knots])(np.asarray(x, dtype=np.float64)[..., None])[..., 0]


@dataclass(frozen=True)
class Health:
    """One combined score. `band` is what `score` reads as; a `provisional` one is shown without it."""

    score: int | None
    band: str | None
    coverage: float
    provisional: bool
    bound_by: str | None


@dataclass(frozen=True)
class Totals:
    """Scores of rows, in exact integers: `score` and `band` where `scored`, whatever the coverage; all arrays (rows,)."""

    score: npt.NDArray[np.int64]
    scored: BoolArray
    band: npt.NDArray[np.object_]
    coverage: FloatArray
    provisional: BoolArray
    bound_by: npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class HealthScores:
    """Scored accounts: `accounts` as `score` documents it, and per measure the points and share of the total.

    `points` and `weights` have the frame's index and a column per measured feature; NaN and 0 where it is missing.
    The shares of an account add up to 1; Σ weight × points is its total before rounding and exceptions.
    `parts` (rows × components) are the components' points, `earned` and `shares` the numbers of `points` and `weights`.
    """

    index: pd.Index
    totals: Totals
    no_score: npt.NDArray[np.object_]
    names: tuple[str, ...]
    parts: FloatArray
    features: tuple[str, ...]
    earned: FloatArray
    shares: FloatArray

    @property
    def band(self) -> npt.NDArray[np.object_]:
        """The band that is shown: None where there is no score, or it is provisional."""
        return _unless(self.totals.provisional, self.totals.band)

    @cached_property
    def accounts(self) -> pd.DataFrame:
        """One row per account; see `score`."""
        totals = self.totals
        columns = {
            "score": pd.array(totals.score, dtype="Int64"),
            "band": pd.array(self.band, dtype="str"),
            "coverage": totals.coverage,
            "provisional": totals.provisional,
            "bound_by": pd.array(totals.bound_by, dtype="str"),
            "no_score": pd.array(self.no_score, dtype="str"),
        }
        parts = {f"component_{name}": self.parts[:, column] for column, name in enumerate(self.names)}
        found = pd.DataFrame(columns | parts, index=self.index)
        return found.assign(score=found["score"].where(totals.scored))

    @cached_property
    def points(self) -> pd.DataFrame:
        """Points per account and measure."""
        return pd.DataFrame(self.earned, index=self.index, columns=list(self.features))

    @cached_property
    def weights(self) -> pd.DataFrame:
        """Share of the total per account and measure."""
        return pd.DataFrame(self.shares, index=self.index, columns=list(self.features))

    def measures(self) -> pd.DataFrame:
        """Return one row per account and measure that has a value, costliest first within each account.

        Columns: row (position of the account in the frame), feature, points (0–100), weight (share of the total), lost
        = weight × (100 − points), the points that it takes off the total.
        """
        points, weights = self.earned, self.shares
        row, column = np.nonzero(~np.isnan(points))
        long = pd.DataFrame(
            {
                "row": row,
                "feature": pd.Categorical.from_codes(column, categories=pd.Index(self.features)),
                "points": points[row, column],
                "weight": weights[row, column],
            }
        )
        long["lost"] = long["weight"] * (100 - long["points"])
        order = np.lexsort((column, -long["lost"].round(9), row))
        return long.iloc[order].reset_index(drop=True)


def combine(
    components: Mapping[str, float | None],
    weights: Mapping[str, float] | None = None,
    exceptions: Iterable[str] = (),
) -> Health:
    """Combine components (name → 0–100, None = no data) into a score, capped by the named exceptions that hold.

    `weights` and the exceptions' caps default to the default scorecard's. Without any component the score is None. The
    band follows from the score even where coverage makes it provisional. ValueError for an unknown component or
    exception, or points outside 0–100.

    >>> combine({"usage": 95, "feedback": None}, exceptions=["notice_given"])
    Health(score=19, band='critical', coverage=0.3, provisional=True, bound_by='notice_given')
    """
    scorecard = default_scorecard()
    weights = {part.name: part.weight for part in scorecard.components} if weights is None else weights
    caps = {exception.name: exception.cap for exception in scorecard.exceptions}
    holding = tuple(exceptions)
    _known("component", components, weights)
    _known("exception", holding, caps)
    given = {name: value for name, value in components.items() if value is not None}
    points = np.array([[float(given.get(name, np.nan)) for name in weights]])
    if ((points < 0) | (points > 100)).any():
        raise ValueError(f"components must lie within 0–100, got {dict(components)}")
    holds = np.array([[name in holding for name in caps]])
    found = _total(points, np.array(list(weights.values())), ~np.isnan(points), holds, caps)
    score = int(found.score[0]) if found.scored[0] else None
    return Health(score, found.band[0], float(found.coverage[0]), bool(found.provisional[0]), found.bound_by[0])


def inputs(built: Snapshot) -> pd.DataFrame:
    """Return the features with the columns beside them that only exceptions read; one row per row of the snapshot."""
    frame = built.features
    return frame.assign(
        notice_given=built.facts["leaving"].astype("float64").to_numpy(),
        **{name: frame[feature] for name, feature in _ALSO.items()},
    )


def inputs_of(features: Matrix, leaving: BoolArray) -> Matrix:
    """As `inputs`, of a matrix of features and of whose notice stands (rows,)."""
    also = values_of(features, tuple(_ALSO.values()))
    return Matrix((*features.names, _NOTICE, *_ALSO), np.column_stack([features.values, leaving, also]))


def score(table: Table, connected: Set[str] | Connected, scorecard: Scorecard | None = None) -> HealthScores:
    """Score each row of `table`, one column per feature (float, NaN = no value), with the tables that are connected.

    `.accounts`, on the frame's index: score (Int64), band (null where there is no score, or it is provisional),
    coverage (0–1), provisional, bound_by (the lowest cap that changed the total), no_score (a key of `NO_SCORE`, null
    where there is a score), component_<name> (points, NaN = no data). A measure is missing only where its tables are
    not connected, or where it is asked for and has no value. KeyError with the features that the frame lacks.
    """
    card = default_scorecard() if scorecard is None else scorecard
    how = _default_measuring() if scorecard is None else Measuring(card)
    _check(table, connected, card, how.columns)
    values = known_values_of(table, how.columns)
    in_use, measured, excepting = how.connected(connected)
    points, faded = how.measure(values, in_use, measured)
    present = ~np.isnan(points)
    # Summed row by row, so that an account alone equals itself in a batch.
    effective = np.where(present, faded, 0.0)
    mass = np.add.reduceat(effective, how.first, axis=1)
    shares = np.add.reduceat(present * how.weights, how.first, axis=1) / np.add.reduceat(how.weights, how.first)
    earned = np.add.reduceat(np.nan_to_num(points) * effective, how.first, axis=1)
    parts = np.divide(earned, mass, out=np.full_like(mass, np.nan), where=mass > 0).round(6)
    totals = _total(parts, how.part_weights, shares, how.holds(values, excepting), how.caps)
    reasons = np.full(len(values), "not_connected", dtype=object)
    reasons[np.broadcast_to(measured.any(axis=1), len(reasons))] = "nothing_measured"

    there = np.where(mass > 0, how.part_weights, 0.0)
    factor = np.divide(there, mass * there.sum(axis=1, keepdims=True), out=np.zeros_like(mass), where=mass > 0)
    return HealthScores(
        table.index if isinstance(table, pd.DataFrame) else pd.RangeIndex(len(table)),
        totals,
        _unless(totals.scored, reasons),
        how.parts,
        parts,
        how.names,
        points,
        effective * factor.repeat(how.sizes, axis=1),
    )


def _unless(where: BoolArray, words: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The words, and None where that holds."""
    found = words.copy()
    found[where] = None
    return found


@cache
def _default_measuring() -> Measuring:
    return Measuring(default_scorecard())


def _check(table: Table, connected: Set[str] | Connected, card: Scorecard, columns: Sequence[str]) -> None:
    """Refuse a table that lacks what one of the connected tables gives."""
    there = set(table.columns if isinstance(table, pd.DataFrame) else table.names)
    if there.issuperset(columns):
        return
    anywhere = connected.anywhere if isinstance(connected, Connected) else set(connected)
    lacking = sorted(set(card.features(anywhere)) - there)
    if lacking:
        raise KeyError(f"the frame lacks {', '.join(lacking)}; build these features, or leave their table unconnected")


def _known(what: Literal["component", "exception"], names: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; there are: {', '.join(known)}")


def _total(points: FloatArray, weights: FloatArray, shares: FloatArray, holds: BoolArray, caps: Mapping[str, int]) -> Totals:
    """Combine the components of each row.

    `points` and `shares` (of a component's measure weights that have data) are (rows, components), `holds` is
    (rows, exceptions) in the order of `caps`.
    """
    micro_weights = _micro(weights)
    present = ~np.isnan(points)
    weight = (present * micro_weights).sum(axis=1)
    earned = (_micro(np.nan_to_num(points)) * (present * micro_weights)).sum(axis=1)
    unit = np.maximum(weight, 1) * MICRO
    total = (2 * earned + unit) // (2 * unit)  # half-up

    applicable = np.where(holds, np.array(list(caps.values()), dtype=np.int64), 101)
    applicable = np.column_stack([applicable, np.full(len(points), 101)])  # no exception: a cap that never binds
    lowest = applicable.argmin(axis=1)
    cap = applicable[np.arange(len(points)), lowest]
    scored = weight > 0
    bound = scored & (cap < total)
    total = np.minimum(total, cap)

    coverage = np.round((shares * weights).sum(axis=1) / weights.sum(), 6)
    band = _BAND_NAMES[np.where(scored, (total[:, None] < _FLOORS).sum(axis=1), len(BANDS))]
    binding: npt.NDArray[np.object_] = np.array([*caps, None], dtype=object)
    bound_by = binding[np.where(bound, lowest, len(caps))]
    return Totals(total, scored, band, coverage, coverage < FULL_COVERAGE, bound_by)


def _micro(values: FloatArray) -> npt.NDArray[np.int64]:
    """Round half-up to integers of 10⁻⁶."""
    return np.floor(np.asarray(values, dtype=float) * MICRO + 0.5).astype(np.int64)
