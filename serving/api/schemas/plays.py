"""Running playbooks: what starts and changes them, and how they stand."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.api.schemas import words
from serving.api.schemas.scored import Shape, Share
from serving.api.schemas.words import AccountId, PlayArm, PlayOutcome, PlayState, RecordId, Verdict
from serving.events import Instant

Note = Annotated[words.Note, Field(description="free text; kept apart from history, erasable")]


class PlayStart(BaseModel):
    """Start a playbook for an account; `started_at` is its day 0, default now."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"account_id": "A00257", "playbook": "reach_out_call"}}
    )

    account_id: AccountId
    playbook: RecordId
    started_at: Instant | None = None
    owner: RecordId | None = Field(default=None, description="id of who sees to it")
    note: Note | None = None


class PlayChange(BaseModel):
    """One change to a play that is still of `version`: a step done or undone, a snooze, resuming, or closing with an outcome."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"version": 1, "step_done": 1}})

    version: int = Field(ge=1, le=2**31 - 1, description="of the play as it was read; another one is answered with 409")
    step_done: int | None = Field(default=None, ge=1, le=1000)
    step_undone: int | None = Field(default=None, ge=1, le=1000)
    snooze_until: Instant | None = None
    resume: Literal[True] | None = None
    close: PlayOutcome | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        given = [name for name in CHANGES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(CHANGES)}; given: {', '.join(given) or 'none'}")
        return self


CHANGES = ("step_done", "step_undone", "snooze_until", "resume", "close")


_AUTHOR = {"kind": "key", "id": "3f2a91c04d7e"}
_STEP: dict[str, Any] = {
    "number": 1,
    "day": 0,
    "what": "Call the contact",
    "who": "csm",
    "channel": "call",
    "automatic": False,
    "due": "2026-07-01T08:30:00Z",
    "done_at": None,
}
_PLAY: dict[str, Any] = {
    "play_id": "206bb7ee-489f-4f99-8e1b-27a66fec29d4",
    "account_id": "A00257",
    "playbook": "reach_out_call",
    "title": "Reach-out call",
    "owner": None,
    "started_at": "2026-07-01T08:30:00Z",
    "state": "running",
    "snoozed_until": None,
    "closed_at": None,
    "outcome": None,
    "assignment": "treated",
    "probability": 0.8,
    "override": False,
    "version": 1,
    "steps": [_STEP],
}
_FEEDBACK: dict[str, Any] = {
    "account_id": "A00257",
    "run_id": "c7678e46835a42d08f8e0db369b94566",
    "as_of": "2026-07-01T00:00:00Z",
    "driver": "silence",
    "verdict": "known",
    "by": _AUTHOR,
    "at": "2026-07-01T08:30:00Z",
    "text": "On parental leave until August",
}


class PlayStep(Shape):
    """A step with its day; `number` counts from 1."""

    number: int
    day: int
    what: str
    who: str
    channel: str
    automatic: bool
    due: datetime
    done_at: datetime | None


class Play(Shape):
    """A playbook that runs, or ran, for an account; `override`: the account was held out when it was started."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _PLAY})

    play_id: str
    account_id: str
    playbook: str
    title: str | None
    owner: str | None
    started_at: datetime
    state: PlayState
    snoozed_until: datetime | None
    closed_at: datetime | None
    outcome: PlayOutcome | None
    assignment: PlayArm | None
    probability: Share | None
    override: bool
    version: int
    steps: list[PlayStep]


class PlayPage(Shape):
    """Plays, the last started first."""

    items: list[Play]
    next_cursor: str | None


class FeedbackGiven(BaseModel):
    """A verdict on a reason (or, without `driver`, on the score), or a score of one's own with reason and expiry."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"verdict": "known", "driver": "silence", "note": "On parental leave until August"},
                {"manual_score": {"score": 40, "reason": "Their sponsor told us", "expires_at": "2027-01-01T00:00:00Z"}},
            ]
        },
    )

    verdict: Verdict | None = None
    driver: RecordId | None = None
    as_of: Instant | None = Field(default=None, description="of the score that is meant; default: the one that stands")
    note: Note | None = None
    manual_score: "ManualScoreGiven | None" = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.verdict is None) == (self.manual_score is None):
            raise ValueError("give either verdict or manual_score")
        if self.manual_score is not None and (self.driver or self.note or self.as_of):
            raise ValueError("driver, as_of and note go with a verdict; a manual score has its own reason")
        return self


class ManualScoreGiven(BaseModel):
    """A health score that a person gives, until it expires (at most a year later)."""

    model_config = ConfigDict(extra="forbid")

    score: int = Field(ge=0, le=100)
    reason: Note
    expires_at: Instant


class Author(Shape):
    """Who did it: a kind ("key", "user", "job") and an id."""

    kind: str
    id: str


class Feedback(Shape):
    """A verdict as it is kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _FEEDBACK})

    account_id: str
    run_id: str
    as_of: datetime
    driver: str | None
    verdict: Verdict
    by: Author
    at: datetime
    text: str | None


class ManualScore(Shape):
    """A manual score as it is kept."""

    account_id: str
    score: int
    reason: str | None
    by: Author
    at: datetime
    expires_at: datetime


class FeedbackKept(Shape):
    """What was kept."""

    feedback: Feedback | None
    manual_score: ManualScore | None
