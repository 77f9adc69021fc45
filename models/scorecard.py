"""The scorecard: what the health score measures, and the curves that turn values into points (domain.md §3)."""

from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

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
