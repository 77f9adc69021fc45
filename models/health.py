"""The health score (terveysindeksi): rule-based, 0–100, from a declared scorecard (domain.md §3).

One rule for one account and for all: `combine` runs the code of `score` on one row. Points are integers of 10⁻⁶, so the
total is rounded half-up exactly, before banding.

>>> combine({"usage": 79, "engagement": 79, "support": 80, "business": 81, "feedback": 80})
Health(score=80, band='healthy', coverage=1.0, provisional=False, bound_by=None)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from features.builder import Snapshot

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
DEFAULT = Path(__file__).with_name("scorecard.yaml")

Positive = Annotated[float, Field(gt=0)]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Title(_Declared):
    """What a person reads, in both languages."""

    en: str = Field(min_length=1)
    fi: str = Field(min_length=1)


class Measure(_Declared):
    """One feature, turned into points by its curve. models/scorecard.yaml says what each field means."""

    feature: str
    title: Title
    weight: Positive
    tables: tuple[str, ...] = Field(min_length=1)
    knots: tuple[tuple[float, Annotated[float, Field(ge=0, le=100)]], ...] = Field(min_length=2)
    silence: float | None = None
    asked: bool = False
    needs_use: bool = False
    age_feature: str | None = None
    half_life_days: Positive | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        values = [value for value, _ in self.knots]
        if values != sorted(set(values)):
            raise ValueError(f"{self.feature}: the values of its knots must ascend, got {values}")
        if self.asked == (self.silence is not None):
            raise ValueError(f"{self.feature}: give either `silence` (the value of no rows) or `asked: true`")
        if (self.age_feature is None) != (self.half_life_days is None):
            raise ValueError(f"{self.feature}: give `age_feature` and `half_life_days` together")
        return self


class Component(_Declared):
    """One part of the total: its weight, and its measures."""

    name: str
    title: Title
    weight: Positive
    measures: tuple[Measure, ...] = Field(min_length=1)


class Condition(_Declared):
    """A feature at least, or above, a bound; without a value it stands for `silence`, or does not hold."""

    feature: str
    at_least: float | None = None
    above: float | None = None
    silence: float = float("nan")

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.above is None):
            raise ValueError(f"{self.feature}: give either `at_least` or `above`")
        return self


class Exceptional(_Declared):
    """A cap on the total where all conditions hold, whatever the weights say."""

    name: str
    title: Title
    cap: int = Field(ge=0, le=100)
    tables: tuple[str, ...] = Field(min_length=1)
    when: tuple[Condition, ...] = Field(min_length=1)


class Use(_Declared):
    """The feature that is 0, or missing, on an account that does not use the product."""

    feature: str
    tables: tuple[str, ...] = Field(min_length=1)


class Scorecard(_Declared):
    """Components with their measures, and the exceptions."""

    use: Use
    components: tuple[Component, ...] = Field(min_length=1)
    exceptions: tuple[Exceptional, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what, names in (
            ("component", [part.name for part in self.components]),
            ("measured feature", [measure.feature for measure in self.measures]),
            ("exception", [exception.name for exception in self.exceptions]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"each {what} may stand once, twice there: {', '.join(twice)}")
        return self

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures, in the order of their components."""
        return tuple(measure for part in self.components for measure in part.measures)

    def features(self, connected: set[str]) -> tuple[str, ...]:
        """Names of the columns that `score` reads when those tables are connected, sorted."""
        names = {self.use.feature} if connected.issuperset(self.use.tables) else set()
        for measure in self.measures:
            if connected.issuperset(measure.tables):
                names |= {measure.feature} | ({measure.age_feature} if measure.age_feature else set())
        for exception in self.exceptions:
            if connected.issuperset(exception.tables):
                names |= {condition.feature for condition in exception.when}
        return tuple(sorted(names))


def load_scorecard(path: Path = DEFAULT) -> Scorecard:
    """Read and check a scorecard; pydantic's ValidationError names the field, the value and what was allowed."""
    return Scorecard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@cache
def default_scorecard() -> Scorecard:
    """Return the scorecard that comes with the product."""
    return load_scorecard()


def curve(knots: Sequence[tuple[float, float]], x: float | np.ndarray) -> np.ndarray:
    """Return points at `x`: straight between the knots (value, points), clamped outside them, NaN where x is NaN.

    >>> float(curve([(0, 0), (0.5, 60), (1, 100)], 0.75))
    80.0
    """
    values, points = np.asarray(knots, dtype=float).T
    return np.interp(x, values, points)


def fade(age_days: float | np.ndarray, half_life_days: float) -> np.ndarray:
    """Return the factor on a measure's weight: halved with each half-life of its age in days.

    >>> float(fade(180, 90))
    0.25
    """
    return np.exp2(-np.asarray(age_days, dtype=float) / half_life_days)


@dataclass(frozen=True)
class Health:
    """One combined score. `band` is what `score` reads as; a `provisional` one is shown without it."""

    score: int | None
    band: str | None
    coverage: float
    provisional: bool
    bound_by: str | None


@dataclass(frozen=True)
class HealthScores:
    """Scored accounts: `accounts` as `score` documents it, and per measure the points and share of the total.

    `points` and `weights` have the frame's index and a column per measured feature; NaN and 0 where it is missing.
    The shares of an account add up to 1; Σ weight × points is its total before rounding and exceptions.
    """

    accounts: pd.DataFrame
    points: pd.DataFrame
    weights: pd.DataFrame

    def measures(self) -> pd.DataFrame:
        """Return one row per account and measure that has a value, costliest first within each account.

        Columns: row (position of the account in the frame), feature, points (0–100), weight (share of the total), lost
        = weight × (100 − points), the points that it takes off the total.
        """
        points, weights = self.points.to_numpy(), self.weights.to_numpy()
        row, column = np.nonzero(~np.isnan(points))
        long = pd.DataFrame(
            {
                "row": row,
                "feature": pd.Categorical.from_codes(column, categories=self.points.columns),
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
    row = _total(points, np.array(list(weights.values())), ~np.isnan(points), holds, caps).iloc[0]
    score = None if pd.isna(row["score"]) else int(row["score"])
    band, bound_by = (None if pd.isna(row[name]) else str(row[name]) for name in ("band", "bound_by"))
    return Health(score, band, float(row["coverage"]), bool(row["provisional"]), bound_by)


def inputs(built: Snapshot) -> pd.DataFrame:
    """Return the features with the columns beside them that only exceptions read; one row per row of the snapshot."""
    frame = built.features
    return frame.assign(
        notice_given=built.facts["leaving"].astype("float64").to_numpy(),
        days_since_active_user=frame["days_since_last_use"],
        account_age_days=frame["tenure_days"],
    )


def score(frame: pd.DataFrame, connected: set[str], scorecard: Scorecard | None = None) -> HealthScores:
    """Score each row of `frame`, one column per feature (float, NaN = no value), with the tables that are connected.

    `.accounts`, on the frame's index: score (Int64), band (null where there is no score, or it is provisional),
    coverage (0–1), provisional, bound_by (the lowest cap that changed the total), no_score (a key of `NO_SCORE`, null
    where there is a score), component_<name> (points, NaN = no data). A measure is missing only where its tables are
    not connected, or where it is asked for and has no value. KeyError with the features that the frame lacks.
    """
    card = scorecard or default_scorecard()
    lacking = sorted(set(card.features(connected)) - set(frame.columns))
    if lacking:
        raise KeyError(f"the frame lacks {', '.join(lacking)}; build these features, or leave their table unconnected")
    points, faded = _measure(frame, connected, card)
    present = ~np.isnan(points)
    base = np.array([measure.weight for measure in card.measures])
    sizes = [len(part.measures) for part in card.components]
    first = np.cumsum([0, *sizes[:-1]])  # summed row by row, so that an account alone equals itself in a batch
    effective = np.where(present, faded, 0.0)
    mass = np.add.reduceat(effective, first, axis=1)
    shares = np.add.reduceat(present * base, first, axis=1) / np.add.reduceat(base, first)
    earned = np.add.reduceat(np.nan_to_num(points) * effective, first, axis=1)
    parts = np.divide(earned, mass, out=np.full_like(mass, np.nan), where=mass > 0).round(6)
    weights = np.array([part.weight for part in card.components])
    holds = np.column_stack(
        [np.zeros((len(frame), 0), dtype=bool), *(_holds(frame, connected, exception) for exception in card.exceptions)]
    )
    caps = {exception.name: exception.cap for exception in card.exceptions}
    accounts = _total(parts, weights, shares, holds, caps)
    accounts["band"] = accounts["band"].mask(accounts["provisional"])
    reason = "nothing_measured" if any(connected.issuperset(measure.tables) for measure in card.measures) else "not_connected"
    accounts["no_score"] = pd.Series(reason, index=accounts.index, dtype="str").where(accounts["score"].isna())
    for column, part in enumerate(card.components):
        accounts[f"component_{part.name}"] = parts[:, column]

    there = np.where(mass > 0, weights, 0.0)
    total = there.sum(axis=1, keepdims=True)
    factor = np.divide(there, mass * total, out=np.zeros_like(mass), where=mass > 0)
    names = [measure.feature for measure in card.measures]
    return HealthScores(
        accounts.set_index(frame.index),
        pd.DataFrame(points, index=frame.index, columns=names),
        pd.DataFrame(effective * factor.repeat(sizes, axis=1), index=frame.index, columns=names),
    )


def _known(what: Literal["component", "exception"], names: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; there are: {', '.join(known)}")


def _measure(frame: pd.DataFrame, connected: set[str], card: Scorecard) -> tuple[np.ndarray, np.ndarray]:
    """Return points (rows, measures), NaN where missing, and the measures' faded weights."""
    points = np.full((len(frame), len(card.measures)), np.nan)
    weights = np.empty_like(points)
    unused = np.zeros(len(frame), dtype=bool)
    if connected.issuperset(card.use.tables):
        unused = np.nan_to_num(frame[card.use.feature].to_numpy(dtype=float)) == 0
    for column, measure in enumerate(card.measures):
        weights[:, column] = measure.weight
        if not connected.issuperset(measure.tables):
            continue
        value = frame[measure.feature].to_numpy(dtype=float)
        if measure.silence is not None:
            value = np.where(np.isnan(value), measure.silence, value)
        points[:, column] = curve(measure.knots, value)
        if measure.needs_use:
            points[unused, column] = 0.0
        if measure.age_feature and measure.half_life_days:
            age = np.nan_to_num(frame[measure.age_feature].to_numpy(dtype=float)).clip(min=0)
            weights[:, column] *= fade(age, measure.half_life_days)
    return points, weights


def _holds(frame: pd.DataFrame, connected: set[str], exception: Exceptional) -> np.ndarray:
    holds = np.full(len(frame), connected.issuperset(exception.tables))
    if not holds.any():
        return holds
    for condition in exception.when:
        value = frame[condition.feature].to_numpy(dtype=float)
        value = np.where(np.isnan(value), condition.silence, value)
        holds &= value >= condition.at_least if condition.at_least is not None else value > condition.above
    return holds


def _total(
    points: np.ndarray, weights: np.ndarray, shares: np.ndarray, holds: np.ndarray, caps: Mapping[str, int]
) -> pd.DataFrame:
    """Return score, band, coverage, provisional, bound_by of each row, in exact integers.

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
    floors = np.array([lowest_points for _, lowest_points in BANDS])
    band: np.ndarray = np.array([name for name, _ in BANDS], dtype=object)[(total[:, None] < floors).sum(axis=1)]
    band[~scored] = None
    binding: np.ndarray = np.array([*caps, None], dtype=object)
    return pd.DataFrame(
        {
            "score": pd.array(total, dtype="Int64"),
            "band": pd.array(band, dtype="str"),
            "coverage": coverage,
            "provisional": coverage < FULL_COVERAGE,
            "bound_by": pd.array(binding[np.where(bound, lowest, len(caps))], dtype="str"),
        }
    ).assign(score=lambda frame: frame["score"].where(scored))


def _micro(values: np.ndarray) -> np.ndarray:
    """Round half-up to integers of 10⁻⁶."""
    return np.floor(np.asarray(values, dtype=float) * MICRO + 0.5).astype(np.int64)
