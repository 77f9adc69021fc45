"""The portfolio, an account's whole picture, and its history."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serving.api.schemas.plays import Feedback, ManualScore, Play
from serving.api.schemas.scored import EXAMPLE, ScoredAccount, Shape, StoredScore
from serving.api.schemas.words import Band


class ChosenFields(BaseModel):
    """A scored account of which `fields=` chose some members."""

    model_config = ConfigDict(extra="allow")

    account_id: str


class AccountPage(Shape):
    """A page of the portfolio; with `fields=` an item has the chosen members alone."""

    items: list[ScoredAccount | ChosenFields]
    next_cursor: str | None
    run_id: str | None = Field(description="the run whose scores these are; null before the first")
    total: int = Field(ge=0, description="how many accounts the filter keeps")


class ScorePage(Shape):
    """An account's scores, oldest first; one, or none, where a time is asked."""

    items: list[StoredScore]
    next_cursor: str | None


class Candidate(Shape):
    """A play that competed for the account."""

    name: str
    value: float
    relative_effect: float
    probability: float | None = None
    stake: float | None = None


class HealthPoint(Shape):
    """Health at one instant of history."""

    as_of: datetime
    score: int | None
    band: Band | None


class AccountPicture(Shape):
    """Everything about one account: its standing score, what competed, its health over time, plays and feedback."""

    score: ScoredAccount
    known_at: datetime
    candidates: list[Candidate]
    history: list[HealthPoint]
    plays: list[Play]
    feedback: list[Feedback]
    manual_score: ManualScore | None


class FirstStep(Shape):
    """What to do first, and when (ISO date), counted from the score's day."""

    what: str
    who: str
    channel: str
    due: str
    automatic: bool


_STEP: dict[str, Any] = {"what": "Call the contact", "who": "csm", "channel": "call", "due": "2026-07-01", "automatic": False}
_WORK: dict[str, Any] = {**EXAMPLE, "rank": 1, "title": "Reach-out call", "hours": 1.0, "first_step": _STEP}


class WorklistItem(ScoredAccount):
    """A scored account with what to do about it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _WORK})

    rank: int = Field(ge=1)
    title: str
    hours: float = Field(ge=0, description="what the play costs, in hours of work")
    first_step: FirstStep | None


class Worklist(Shape):
    """What to do next, most valuable first; `hours_used` of `hours` where a time was given."""

    items: list[WorklistItem]
    next_cursor: str | None
    run_id: str | None
    as_of: datetime | None
    total: int = Field(ge=0, description="accounts for which a play is worth doing")
    worth: float = Field(description="expected value of the listed plays, in the reporting currency")
    hours_used: float
