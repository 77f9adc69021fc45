"""A running playbook, what can happen to it, and what comes of that; pure.

>>> started = datetime(2026, 3, 1)
>>> call = PlayStep(1, 0, Text(en="Call", fi="Soita"), "csm", "call", automatic=False, due=started, done_at=None)
>>> play = Play("p", "a1", "reach_out_call", None, started, "running", None, None, None, None, None, False, 1, (call,))
>>> done = changed(play, StepDone(1), started + timedelta(hours=9), "in memory")
>>> done.version, done.steps[0].done_at, changed(done, Closed("goal_reached"), started, "in memory").state
(2, datetime.datetime(2026, 3, 1, 9, 0), 'closed')
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from models.playbooks import Playbook, Text
from serving.store.authors import Author
from serving.store.errors import ConflictError, UnknownRecordError
from serving.store.instants import utc
from serving.store.records import Assignment

State = Literal["running", "snoozed", "closed"]
STATES: tuple[State, ...] = get_args(State)
#: How a play ends, by its playbook's exit rule: the goal was reached; the customer said no, or left; the time ran out without
#: either; another play took over. Or somebody stopped it for a reason of ours.
Outcome = Literal["goal_reached", "declined", "expired", "superseded", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Event = Literal["started", "step_done", "step_undone", "snoozed", "resumed", "closed"]


@dataclass(frozen=True)
class PlayStep:
    """A step as its playbook declared it when the play started; `number` counts from 1, `day` from the start of the play."""

    number: int
    day: int
    what: Text
    who: str
    channel: str
    automatic: bool
    due: datetime
    done_at: datetime | None


@dataclass(frozen=True)
class Play:
    """A playbook that runs, or ran, for an account; `version` rises by one with each change.

    `assignment` and `probability` are those of the decision that chose this playbook (None: no decision did). `override`: when it
    was started, the account was held out. `owner` is the id of whoever sees to it.
    """

    play_id: str
    account_id: str
    playbook: str
    owner: str | None
    started_at: datetime
    state: State
    snoozed_until: datetime | None
    closed_at: datetime | None
    outcome: Outcome | None
    assignment: Assignment | None
    probability: float | None
    override: bool
    version: int
    steps: tuple[PlayStep, ...]


@dataclass(frozen=True)
class PlayEvent:
    """One thing that happened to a play, after which it had `version`; `text` is None where nothing was written, or is erased."""

    version: int
    at: datetime
    event: Event
    by: Author
    step: int | None
    until: datetime | None
    outcome: Outcome | None
    text: str | None


@dataclass(frozen=True)
class StepDone:
    """The step of this number was taken."""

    step: int


@dataclass(frozen=True)
class StepUndone:
    """The step of this number was not taken after all."""

    step: int


@dataclass(frozen=True)
class Snoozed:
    """Nothing is done until then; a play that is snoozed already sleeps until the new instant."""

    until: datetime


@dataclass(frozen=True)
class Resumed:
    """A snoozed play goes on before its time, or because the time has come."""


@dataclass(frozen=True)
class Closed:
    """The play has ended; it takes no change after that."""

    outcome: Outcome


Change = StepDone | StepUndone | Snoozed | Resumed | Closed


class UnknownPlayError(UnknownRecordError):
    """There is no play of this id, or its account was erased."""

    def __init__(self, play_id: str, where: str):
        super().__init__(f"there is no play {play_id!r}", where, "Check the id in the list of plays.")


class PlayConflictError(ConflictError):
    """What is asked does not fit the play as it stands; `play_id` and `version` are that play's, to read it and decide anew."""

    def __init__(self, what: str, play: Play, where: str):
        self.play_id, self.version = play.play_id, play.version
        super().__init__(what, where, f"Read play {play.play_id} (now version {play.version}), then decide anew.")


def declared_steps(playbook: Playbook) -> list[dict[str, Any]]:
    """Return the steps of a playbook as a play keeps them, none done."""
    return [step.model_dump() | {"done_at": None} for step in playbook.steps]


def to_steps(declared: list[dict[str, Any]], started_at: datetime) -> tuple[PlayStep, ...]:
    """Return the steps that a play keeps, with the instants at which they are due."""
    return tuple(
        PlayStep(
            number,
            step["day"],
            Text(**step["what"]),
            step["who"],
            step["channel"],
            step["automatic"],
            started_at + timedelta(days=step["day"]),
            None if step["done_at"] is None else utc(step["done_at"]),
        )
        for number, step in enumerate(declared, start=1)
    )


def to_declared(steps: tuple[PlayStep, ...]) -> list[dict[str, Any]]:
    """Return the steps as a play keeps them; the inverse of `to_steps`."""
    return [
        {
            "day": step.day,
            "what": step.what.model_dump(),
            "who": step.who,
            "channel": step.channel,
            "automatic": step.automatic,
            "done_at": step.done_at,
        }
        for step in steps
    ]


def changed(play: Play, change: Change, at: datetime, where: str) -> Play:
    """Return the play after the change, one version on.

    Raises PlayConflictError where the play, as it stands, cannot take it (closed; a step done already, or not done; not snoozed),
    ValueError where no play of this playbook could (no such step or outcome; a snooze that is over before it begins).
    """
    if play.state == "closed":
        raise PlayConflictError(f"play {play.play_id!r} is closed ({play.outcome}) and takes no change", play, where)
    following = replace(play, version=play.version + 1)
    match change:
        case StepDone(number) | StepUndone(number):
            return replace(following, steps=_ticked(play, number, at if isinstance(change, StepDone) else None, where))
        case Snoozed(until):
            if until <= at:
                raise ValueError(f"the play is snoozed until {until.isoformat()}; give an instant after {at.isoformat()}")
            return replace(following, state="snoozed", snoozed_until=until)
        case Resumed():
            if play.state != "snoozed":
                raise PlayConflictError(f"play {play.play_id!r} is {play.state}, not snoozed", play, where)
            return replace(following, state="running", snoozed_until=None)
        case Closed(outcome):
            if outcome not in OUTCOMES:
                raise ValueError(f"outcome {outcome!r} is not known; allowed: {', '.join(OUTCOMES)}")
            return replace(following, state="closed", snoozed_until=None, closed_at=at, outcome=outcome)


def _ticked(play: Play, number: int, done_at: datetime | None, where: str) -> tuple[PlayStep, ...]:
    if not 1 <= number <= len(play.steps):
        raise ValueError(f"step {number} is none of {play.playbook}'s; it has steps 1 to {len(play.steps)}")
    step = play.steps[number - 1]
    if (step.done_at is None) == (done_at is None):
        raise PlayConflictError(f"step {number} is {'not done' if done_at is None else 'done already'}", play, where)
    return (*play.steps[: number - 1], replace(step, done_at=done_at), *play.steps[number:])
