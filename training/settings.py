"""What a data scientist would change, in `[training]` of kunto.toml or as options of `kunto train`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, model_validator

from models.booster import BoosterSettings
from models.labels import Event, Outcome


class ChallengeSettings(BaseModel):
    """How much worse a challenger may be, and where one looks; defaults by what a retrained model's luck moves.

    `margin` and `segment_margin`: the share of what the champion gains over the base rate that may be lost overall and in a
    segment. A segment is judged from `segment_positives` rows with the outcome on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.1, ge=0, lt=1)
    segment_margin: float = Field(default=0.4, ge=0, lt=1)
    segment_positives: int = Field(default=50, ge=1)


class TrainingSettings(BaseModel):
    """How models are trained and tested (domain.md §2 "Labels", interface.md `kunto train`).

    `every`: "month" (each month's first) or a number of days counted from `test_from`. `test_from` and `test_to` default to
    the last six months that are mature at the horizon. `allow_leaks`: names that the leak audit may let pass. `tune`: trials of
    the booster's tuning (`training.tuning`); 0: none. `base`: a folder, relative to the workspace, of models that the boosters
    start from (`training.priors`); without it they start from the scorecard.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcomes: tuple[Outcome, ...] = ("churn", "contraction", "expansion")
    horizon: int = Field(default=90, ge=1, le=360)
    grace: int = Field(default=30, ge=0)
    event: Event = "notice"
    every: Literal["month"] | Annotated[int, Field(ge=1)] = "month"
    test_from: NaiveDatetime | None = None
    test_to: NaiveDatetime | None = None
    seed: int = Field(default=0, ge=0)
    product_features: int = Field(default=10, ge=0)
    allow_leaks: tuple[str, ...] = ()
    challenge: ChallengeSettings = ChallengeSettings()
    tune: int = Field(default=0, ge=0)
    base: Path | None = None
    booster: BoosterSettings = BoosterSettings()

    @model_validator(mode="after")
    def _test_has_a_length(self) -> Self:
        if self.test_from is not None and self.test_to is not None and self.test_to <= self.test_from:
            raise ValueError(
                f"test_to is {self.test_to}, not after test_from {self.test_from}: give a later instant, or leave it out"
            )
        return self


class Task(BaseModel):
    """One model to train: an outcome at a horizon."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    horizon_days: int

    @property
    def name(self) -> str:
        """Name in the registry.

        >>> Task(outcome="churn", horizon_days=90).name
        'kunto-churn-90d'
        """
        return f"kunto-{self.outcome}-{self.horizon_days}d"


#: Expected revenue is scaled linearly from this horizon (domain.md §4).
REVENUE_HORIZON = 180


def tasks(settings: TrainingSettings, *, money: bool, horizon_given: bool) -> list[Task]:
    """Every model that a run trains; without prices no money moves, so only churn. ValueError where none is left.

    >>> [task.name for task in tasks(TrainingSettings(), money=True, horizon_given=False)]
    ['kunto-churn-90d', 'kunto-contraction-90d', 'kunto-contraction-180d', 'kunto-expansion-90d', 'kunto-expansion-180d']
    """
    found = []
    for outcome in settings.outcomes:
        if outcome != "churn" and not money:
            continue
        horizons = {settings.horizon} if outcome == "churn" or horizon_given else {settings.horizon, REVENUE_HORIZON}
        found += [Task(outcome=outcome, horizon_days=days) for days in sorted(horizons)]
    if not found:
        raise ValueError("no outcome to train: contraction and expansion need subscriptions.mrr; train churn, or map the prices")
    return found
