"""What `POST /v1/score` and what-if take and give."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.api.schemas.scored import EXAMPLE, ScoredAccount, Shape
from serving.api.schemas.words import AccountId, Features, Language, Outcome
from serving.events import Instant

_SOME_FEATURES: dict[str, Any] = {
    "days_to_renewal": 60.0,
    "seats": 20.0,
    "active_users_30d": 4.0,
    "mrr": 900.0,
    "outreach_unanswered_90d": 4.0,
}


class AccountToScore(BaseModel):
    """One account: by its id, from the stored history, or with features given inline (those not given are unknown)."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"features": _SOME_FEATURES}, {"account_id": "A00257"}]}
    )

    account_id: AccountId | None = None
    features: Features | None = Field(default=None, description="name → number or null; names as in docs/features.md")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.account_id is None) == (self.features is None):
            raise ValueError("give either account_id or features")
        return self


class ScoreRequest(BaseModel):
    """1 to 1,000 accounts. Each is read on its own: a row that cannot be scored fails alone and stands in `errors`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"accounts": [{"features": _SOME_FEATURES}]}})

    accounts: list[Any] = Field(
        min_length=1,
        max_length=1000,
        json_schema_extra={"items": {"$ref": "#/components/schemas/AccountToScore"}},
    )
    as_of: Instant | None = Field(default=None, description="the instant T; default: the end of the data, inline: now")
    language: Language | None = None


class ScoredItem(ScoredAccount):
    """A scored account and its place in the request."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"index": 0, **EXAMPLE}})

    index: int = Field(ge=0)


class RowProblem(Shape):
    """Why a row could not be scored; `unknown` and `missing` are the difference from the columns that the model was fitted on."""

    index: int = Field(ge=0)
    account_id: str | None
    kind: Literal["invalid", "columns_differ", "unknown_account", "not_active"]
    detail: str
    unknown: dict[str, str | None] = Field(default_factory=dict, description="name given → the nearest known one")
    missing: list[str] = Field(default_factory=list)
    expected: int | None = Field(default=None, description="how many columns the models were fitted on")


class ScoreAnswer(Shape):
    """Scored rows in the order asked, and the rows that failed."""

    items: list[ScoredItem]
    errors: list[RowProblem]


class WhatIfRequest(BaseModel):
    """Features to change: name → number, or null for unknown; `as_of`: of the score to change, default the one that stands."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"features": {"outreach_unanswered_90d": 0}}})

    features: Features = Field(min_length=1, max_length=1000)
    as_of: Instant | None = None
    language: Language | None = None


class ProbabilityChange(Shape):
    """A probability before, after, and after − before."""

    outcome: Outcome
    horizon_days: int
    before: float
    after: float
    change: float


class DriverChange(Shape):
    """What the score owes to a driver before, after, and after − before; in logits, of health reasons in points lost."""

    driver: str
    before: float
    after: float
    change: float


class PlayChoice(Shape):
    """The play chosen before and after; `expected_value` is the difference of their values."""

    before: str
    after: str
    expected_value: float


class Difference(Shape):
    """after − before; null where one side has none. Drivers: those that changed, the largest change first."""

    health_score: int | None
    predictions: list[ProbabilityChange] | None
    arr_at_risk: float | None
    expected_lifetime_value: float | None
    drivers: list[DriverChange]
    play: PlayChoice


class WhatIfAnswer(Shape):
    """The account as it was scored and as it would be."""

    before: ScoredAccount
    after: ScoredAccount
    difference: Difference
