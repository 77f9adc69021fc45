"""The catalogue of playbooks, and what they have been seen to do."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from serving.api.schemas.scored import Shape

_STATED: dict[str, Any] = {"silence": 0.2}
_PLAYBOOK: dict[str, Any] = {
    "name": "reach_out_call",
    "title": "Reach-out call",
    "goal": "An answer, and one next step agreed on",
    "outcome": "churn",
    "hours": 1.0,
    "automatic": False,
    "hold_out": False,
    "trigger": {"drivers": ["silence"]},
    "effects": _STATED,
    "steps": [{"day": 0, "what": "Call the contact", "who": "csm", "channel": "call", "automatic": False}],
}
_EFFECT: dict[str, Any] = {
    "playbook": "reach_out_call",
    "state": "not_measured",
    "detail": "the stated effects are assumptions",
    "stated": _STATED,
    "arms": {"none": {"choices": 41, "accounts": 17}},
    "started": 3,
    "difference": None,
    "low": None,
    "high": None,
}


class PlaybookStep(Shape):
    """One step; `day` counts from the start of the play."""

    day: int
    what: str
    who: str
    channel: str
    automatic: bool


class Playbook(Shape):
    """What can be done for an account, when it fits, and what it is said to achieve (domain.md §8)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _PLAYBOOK})

    name: str
    title: str
    goal: str
    outcome: Literal["churn", "expansion", "none"]
    hours: float
    automatic: bool
    hold_out: bool
    trigger: dict[str, Any]
    effects: dict[str, float] = Field(description="driver → stated relative effect: an assumption until it is measured")
    steps: list[PlaybookStep]


class PlaybookPage(Shape):
    """The whole catalogue, by name."""

    items: list[Playbook]
    next_cursor: str | None


class Arm(Shape):
    """How many choices fell into one arm, and of how many accounts."""

    choices: int
    accounts: int


class Effect(Shape):
    """The measured effect of a playbook; `state` says how far it is from being one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EFFECT})

    playbook: str
    state: Literal["not_measured"]
    detail: str
    stated: dict[str, float]
    arms: dict[str, Arm]
    started: int
    difference: float | None
    low: float | None
    high: float | None
