"""What the pages stand on, and the facts of one scored account as both pages show them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

from starlette.requests import Request

from features.catalogue import Feature
from models.choice import NOTHING
from models.choice_sentences import NOTHING_TITLE
from models.health import BANDS
from models.playbooks import Playbook, load
from models.sentences import Language, headlines
from serving.portfolio import Portfolio, View
from serving.principal import Principal
from serving.settings import ServiceSettings
from serving.store import Store

Record = Mapping[str, Any]
#: A notice deadline nearer than this is urgent.
URGENT_DAYS = 30
#: Data older than this are warned of.
FRESH = timedelta(days=2)
_DASH = " – "


class Behind(Protocol):
    """The part of the service that the pages read and write."""

    store: Store
    portfolio: Portfolio
    settings: ServiceSettings
    currency: str | None
    sign_in: bool
    clock: Callable[[], datetime]

    @property
    def catalogue(self) -> Mapping[str, Feature]:
        """Every feature by name, those of the company's own product included."""

    def audit(self, request: Request, action: str, about: str | None) -> None:
        """Write into the log who did what to what."""


@dataclass(frozen=True)
class Reader:
    """Who reads a page, in which language; `csrf` guards their forms (empty: none is taken)."""

    principal: Principal
    language: Language
    csrf: str

    def sees(self, csm: str | None) -> bool:
        """Whether accounts of that CSM are theirs to see."""
        return self.principal.csm is None or csm == self.principal.csm


@dataclass(frozen=True)
class Freshness:
    """Of which instant the figures speak, when they were made, and how old the data are now."""

    as_of: datetime
    known_at: datetime | None
    age: timedelta

    @property
    def stale(self) -> bool:
        """Whether to warn."""
        return self.age > FRESH

    @classmethod
    def of(cls, view: View | None, now: datetime) -> "Freshness | None":
        """That of a view of the portfolio; None before the first run."""
        return None if view is None else cls(view.run.as_of, view.run.finished_at, now - view.run.as_of)


@dataclass(frozen=True)
class Reason:
    """A driver as a person reads it: what it says, and the figures that stand behind it."""

    driver: str
    raises: bool
    contribution: float
    says: str
    behind: str


@dataclass(frozen=True)
class Facts:
    """One scored account (interface.md), with what both pages read out of it; `record` has its sentences and contacts."""

    record: Record
    language: Language

    @property
    def as_of(self) -> date:
        """The day from which days are counted."""
        return date.fromisoformat(self.record["as_of"][:10])

    @property
    def health(self) -> Record:
        """The health score."""
        found: Record = self.record["health"]
        return found

    @property
    def band_before(self) -> str | None:
        """The band of 30 days ago, where it was another one."""
        score, band, change = self.health["score"], self.health["band"], self.health.get("change_30d")
        if band is None or not change:
            return None
        before = next(name for name, lowest in BANDS if score - change >= lowest)
        return before if before != band else None

    def prediction(self, outcome: str, horizon_days: int | None = None) -> Record | None:
        """What the model says of an outcome, at that or else the first horizon; None where no model does."""
        there = self.record["predictions"] or ()
        return next((p for p in there if p["outcome"] == outcome and horizon_days in (None, p["horizon_days"])), None)

    @cached_property
    def risk(self) -> Record | None:
        """P(churn) at the horizon that is explained."""
        return self.prediction("churn", self.record["reasons"]["horizon_days"])

    @cached_property
    def renewal_days(self) -> int | None:
        """Days to the renewal."""
        return self._days_to(self.record["renewal"]["date"])

    @cached_property
    def notice_days(self) -> int | None:
        """Days to the last day for notice; negative: it has passed."""
        return self._days_to(self.record["renewal"]["notice_by"])

    @property
    def urgent(self) -> bool:
        """Whether the notice deadline is near."""
        return self.notice_days is not None and 0 <= self.notice_days < URGENT_DAYS

    def _days_to(self, day: str | None) -> int | None:
        return None if day is None else (date.fromisoformat(day) - self.as_of).days

    @cached_property
    def reasons(self) -> list[Reason]:
        """All drivers, largest first."""
        return [reason(driver, self.language) for driver in self.record["reasons"]["drivers"]]

    @cached_property
    def growing(self) -> bool:
        """Whether the play is one of growth."""
        book = self.playbook
        return book is not None and book.outcome == "expansion"

    def leading(self, most: int = 2) -> list[Reason]:
        """What raises the risk; for a play of growth, what speaks for the account."""
        return [each for each in self.reasons if each.raises != self.growing][:most]

    @cached_property
    def playbook(self) -> Playbook | None:
        """The playbook chosen; None where doing nothing won, or the catalogue no longer has it."""
        return load().get(self.record["play"]["name"])

    @property
    def held_out(self) -> bool:
        """Whether chance decided that the play starts later."""
        assignment = self.record["play"]["assignment"] or {}
        return assignment.get("arm") == "held_out"


def reason(driver: Record, language: Language) -> Reason:
    """A driver with its sentence taken apart; without one (its feature is no longer declared) the headline stands alone."""
    headline = headlines()[driver["driver"]][driver["direction"]][language]
    text = driver["text"] or headline
    says, _, behind = text.partition(_DASH)
    return Reason(driver["driver"], driver["direction"] == "raises", driver["contribution"], says, behind)


def title(playbook: str, language: Language) -> str:
    """What a playbook is called; its code where the catalogue no longer has it."""
    if playbook == NOTHING:
        return str(getattr(NOTHING_TITLE, language))
    book = load().get(playbook)
    return str(getattr(book.title, language)) if book else playbook
