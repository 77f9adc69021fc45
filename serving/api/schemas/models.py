"""The models that serve, as `GET /v1/models` tells them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from serving.api.schemas.scored import Shape
from serving.api.schemas.words import Outcome, Serving

_MODEL: dict[str, Any] = {
    "name": "kunto-churn-90d",
    "version": 3,
    "outcome": "churn",
    "horizon_days": 90,
    "served_by": "booster",
    "features": 197,
    "base_rate": 0.059,
    "registered_at": "2026-03-01T05:12:40Z",
    "gate": {
        "state": "pass",
        "passed": True,
        "reasons": ["The booster's log loss is below that of logistic: better."],
    },
    "train": {
        "from": "2023-07-01T00:00:00Z",
        "to": "2025-09-01T00:00:00Z",
        "rows": 10643,
        "accounts": 656,
        "positives": 628,
    },
    "test": {
        "rows": 2804,
        "accounts": 518,
        "positives": 152,
        "base_rate": 0.054,
        "auc": 0.795,
        "auc_low": 0.746,
        "auc_high": 0.847,
    },
    "baselines": {"logistic": {"auc": 0.735}, "health_score": {"auc": 0.682}},
    "trained_on": {"data": "49f0b005f84c", "config": "552e392bc5c1", "code": "0.1.0"},
    "card": "# kunto-churn-90d\n\nP(churn within 90 days | what was known at T), if no new play is started. …",
}
_STATE: dict[str, Any] = {
    "ready": True,
    "serving": "models",
    "versions": {"kunto-churn-90d": 3},
    "since": "2026-03-01T05:12:45Z",
    "last_checked": "2026-03-01T09:30:00Z",
    "problem": None,
}


class ModelGate(Shape):
    """What the gate said of the version; a version registered by hand has a state at most."""

    state: str | None = Field(description="pass and signal_no_gain may serve")
    passed: bool | None
    reasons: list[str]


class ModelRecord(Shape):
    """A model that serves, with where it comes from and how it did on later rows than it was trained on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _MODEL})

    name: str
    version: int = Field(ge=1)
    outcome: Outcome
    horizon_days: int = Field(ge=1)
    served_by: Literal["booster", "logistic"]
    features: int = Field(ge=0, description="how many features it reads")
    base_rate: float | None = Field(description="share of the outcome in training, at the horizon")
    registered_at: datetime
    gate: ModelGate
    train: dict[str, Any] = Field(description="from, to, rows, accounts, positives")
    test: dict[str, Any] = Field(description="the booster's figures on the test period, as `kunto train --json` names them")
    baselines: dict[str, Any] = Field(description="the same figures of the logistic regression, the health score and the others")
    trained_on: dict[str, str] = Field(description="digests of data and configuration, version of the code")
    card: str | None = Field(description="the model card, in Markdown")


class ModelState(Shape):
    """How the models stand: `problem` says why what the registry names is not what serves."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _STATE})

    ready: bool
    serving: Serving | None = Field(description="the health score serves where no model does")
    versions: dict[str, int]
    since: datetime | None = Field(description="when these versions were loaded")
    last_checked: datetime | None = Field(description="when the registry last answered")
    problem: str | None


class ModelPage(Shape):
    """Every model that serves; they are few, so one page holds them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"items": [_MODEL], "next_cursor": None}})

    items: list[ModelRecord]
    next_cursor: None
