"""The scored account, as every call gives it (interface.md "JSON shapes")."""

import datetime as dt
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.schemas.words import Band, Outcome, Stage, Tier

Share = Annotated[float, Field(ge=0, le=1)]


class Shape(BaseModel):
    """A record that goes out: nothing undeclared is in it."""

    model_config = ConfigDict(extra="forbid")


class Health(Shape):
    """The rule-based health score, 0–100 (domain.md §3)."""

    score: int | None = Field(ge=0, le=100, description="null where nothing could be measured; no_score says why")
    band: Band | None = Field(description="null while provisional")
    coverage: Share
    provisional: bool
    components: dict[str, float | None]
    bound_by: str | None = Field(description="the lowest cap that changed the total")
    change_30d: int | None
    no_score: str | None


class Prediction(Shape):
    """A calibrated probability with its 90 % interval."""

    outcome: Outcome
    horizon_days: int
    probability: Share
    low: Share
    high: Share
    base_rate: Share | None


class CurvePoint(Shape):
    """P(still a customer) at the end of a step."""

    days: int
    survival: Share


class Driver(Shape):
    """One reason: what the model's score owes to a driver, with the evidence."""

    driver: str
    direction: Literal["raises", "lowers"]
    contribution: float = Field(description="logits; of health reasons, points lost")
    feature: str
    value: float | None
    before: float | None = Field(description="the account's own value 90 days earlier")
    peers: float | None = Field(description="the median of its peers")
    text: str | None


class Reasons(Shape):
    """base_value + Σ contributions + other = raw_score. Reasons explain the model, not causes."""

    outcome: str
    horizon_days: int | None
    base_value: float
    raw_score: float
    drivers: list[Driver]
    other: float


class Beaten(Shape):
    """The next best choice and its value."""

    name: str
    value: float


class Assignment(Shape):
    """Whether the play starts now or, held out at random, later."""

    arm: Literal["treated", "held_out", "none"]
    probability: Share
    seed: int


class ChosenPlay(Shape):
    """What to do: the play of the highest expected value over 90 days, or "nothing"."""

    name: str
    why: str | None
    expected_value: float
    beaten: Beaten | None
    assignment: Assignment


class Renewal(Shape):
    """The next renewal; `probability` is that of not renewing, null past 360 days.

    Expected ARR counts what may be lost, and what those who stay add or give up; its 90 % interval is one for the expectation,
    not for what the account will pay, and holds how unsure those three probabilities are. Null past 360 days and without money.
    """

    date: dt.date | None
    notice_by: dt.date | None
    probability: Share | None
    expected_arr: float | None
    expected_arr_low: float | None
    expected_arr_high: float | None


class Contact(Shape):
    """Whom to call."""

    contact_id: str
    role: str


class Versions(Shape):
    """What a score rests on."""

    model: str
    config: str
    data: str


_EXAMPLE: dict[str, Any] = {
    "account_id": "A00257",
    "name": "Keen Atlas AG",
    "csm": "Tuomas Rautalahti",
    "tier": "developing",
    "stage": "adoption",
    "as_of": "2026-07-01T00:00:00Z",
    "health": {
        "score": 77,
        "band": "neutral",
        "coverage": 0.94,
        "provisional": False,
        "components": {"usage": 61.2, "engagement": 80.0, "support": 100.0, "business": 74.5, "feedback": None},
        "bound_by": None,
        "change_30d": -6,
        "no_score": None,
    },
    "predictions": [{"outcome": "churn", "horizon_days": 90, "probability": 0.24, "low": 0.19, "high": 0.29, "base_rate": 0.06}],
    "curve": [{"days": 30, "survival": 0.97}, {"days": 60, "survival": 0.88}, {"days": 90, "survival": 0.76}],
    "reasons": {
        "outcome": "churn",
        "horizon_days": 90,
        "base_value": -4.3,
        "raw_score": -3.1,
        "drivers": [
            {
                "driver": "silence",
                "direction": "raises",
                "contribution": 0.9,
                "feature": "outreach_unanswered_90d",
                "value": 4.0,
                "before": 1.0,
                "peers": 1.0,
                "text": "The customer has gone quiet – messages without an answer in 90 days: 4 (90 days earlier 1, peers 1)",
            }
        ],
        "other": 0.3,
    },
    "play": {
        "name": "reach_out_call",
        "why": "Reach-out call: worth €213 over 90 days. …",
        "expected_value": 213.4,
        "beaten": {"name": "activation", "value": 10.4},
        "assignment": {"arm": "treated", "probability": 0.8, "seed": 0},
    },
    "arr": 8126.52,
    "arr_at_risk": 1987.42,
    "expected_lifetime_value": 17033.62,
    "renewal": {
        "date": "2026-09-12",
        "notice_by": "2026-06-14",
        "probability": 0.24,
        "expected_arr": 6201.7,
        "expected_arr_low": 5793.35,
        "expected_arr_high": 6610.14,
    },
    "contacts": [{"contact_id": "ronja.sandvold@example.com", "role": "decision_maker"}],
    "disagreement": False,
    "leaving": False,
    "versions": {"model": "kunto-churn-90d/1", "config": "552e392bc5c1", "data": "49f0b005f84c"},
}


class ScoredAccount(Shape):
    """One account at one instant: health, predictions, curve, reasons and play (domain.md §3, §4, §8).

    Where the health score serves, predictions, curve and what is at stake (arr_at_risk, expected_lifetime_value, figures of the
    renewal) are null; so they are for an account whose notice stands, and a figure in scores older than it.
    Of inline features there is no account_id, name, csm, earlier value or peers. Money is yearly, in the reporting currency.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    account_id: str | None
    name: str | None
    csm: str | None
    tier: Tier | None
    stage: Stage | None
    as_of: datetime
    health: Health
    predictions: list[Prediction] | None
    curve: list[CurvePoint] | None
    reasons: Reasons
    play: ChosenPlay
    arr: float | None
    arr_at_risk: float | None
    expected_lifetime_value: float | None = Field(description="the margin of the next five years, not of one, discounted")
    renewal: Renewal
    contacts: list[Contact]
    disagreement: bool
    leaving: bool
    versions: Versions


#: Names that `fields=` may choose.
FIELDS = tuple(ScoredAccount.model_fields)
EXAMPLE = _EXAMPLE


class StoredScore(Shape):
    """A score out of history: when it was made, and from when on it was known."""

    run_id: str
    scored_at: datetime
    known_at: datetime
    score: ScoredAccount
