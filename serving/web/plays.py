"""The play that is proposed for an account, and those under way, as the pages show them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from models.playbooks import Playbook
from models.sentences import Language
from serving.store import Store
from serving.store.play_records import Play
from serving.web.view import Facts, title

#: More plays than this are not looked through for one page.
_MOST = 5000


@dataclass(frozen=True)
class Step:
    """A step with the day on which it is due; `done` is the day when it was taken."""

    number: int
    what: str
    who: str
    channel: str
    due: date
    done: date | None = None


@dataclass(frozen=True)
class Offer:
    """The play that is worth most, with its steps as they would fall if it began on the score's day."""

    playbook: str
    title: str
    summary: str
    goal: str
    value: float
    hours: float
    why: str | None
    held_out: bool
    steps: tuple[Step, ...]
    beaten: str | None
    beaten_value: float | None


@dataclass(frozen=True)
class Running:
    """A play under way, or closed."""

    play_id: str
    version: int
    playbook: str
    title: str
    started: date
    state: str
    outcome: str | None
    closed: date | None
    snoozed_until: date | None
    steps: tuple[Step, ...]

    @property
    def next(self) -> Step | None:
        """The first step that is not done; automatic ones are not for a person to do."""
        return next((step for step in self.steps if step.done is None and step.who != "system"), None)

    @property
    def done(self) -> int:
        """How many steps are done."""
        return sum(step.done is not None for step in self.steps)


def offer(facts: Facts) -> Offer | None:
    """Return what is proposed; None where doing nothing won."""
    book, play = facts.playbook, facts.record["play"]
    if book is None:
        return None
    beaten = play["beaten"] or None
    return Offer(
        playbook=book.name,
        title=title(book.name, facts.language),
        summary=getattr(book.summary, facts.language),
        goal=getattr(book.goal, facts.language),
        value=play["expected_value"],
        hours=book.hours,
        why=play["why"],
        held_out=facts.held_out,
        steps=_steps(book, facts.as_of, facts.language),
        beaten=title(beaten["name"], facts.language) if beaten else None,
        beaten_value=beaten["value"] if beaten else None,
    )


def _steps(book: Playbook, begin: date, language: Language) -> tuple[Step, ...]:
    return tuple(
        Step(number, getattr(step.what, language), step.who, step.channel, begin + timedelta(days=step.day))
        for number, step in enumerate(book.steps, start=1)
    )


def running(store: Store, account_ids: Collection[str], language: Language, *, closed: bool = False) -> dict[str, list[Running]]:
    """Return account id → its plays that are under way (`closed`: and those that ended), the last started first."""
    wanted = set(account_ids)
    only = next(iter(wanted)) if len(wanted) == 1 else None
    if closed:
        found = store.plays.list(only, limit=_MOST)
    else:
        found = [play for state in ("running", "snoozed") for play in store.plays.list(only, state, limit=_MOST)]
    plays: dict[str, list[Running]] = {}
    for play in found:
        if play.account_id in wanted:
            plays.setdefault(play.account_id, []).append(_told(play, language))
    return plays


def _told(play: Play, language: Language) -> Running:
    return Running(
        play_id=play.play_id,
        version=play.version,
        playbook=play.playbook,
        title=title(play.playbook, language),
        started=play.started_at.date(),
        state=play.state,
        outcome=play.outcome,
        closed=play.closed_at.date() if play.closed_at else None,
        snoozed_until=play.snoozed_until.date() if play.snoozed_until else None,
        steps=tuple(
            Step(
                step.number,
                getattr(step.what, language),
                step.who,
                step.channel,
                step.due.date(),
                step.done_at.date() if step.done_at else None,
            )
            for step in play.steps
        ),
    )
