"""Features of the work done with an account: its onboarding, its other projects, and the plays begun for it."""

from collections.abc import Callable
from typing import Any

import ibis

from features.catalogue.declare import Count, Feature, as_float, days, within

_FINISHED = ("kind", "finished_at")
_DUE = (*_FINISHED, "due_at")


def _onboarding(rows: Any) -> Any:
    return rows.kind == "onboarding"


def _open_onboarding(rows: Any) -> Any:
    return _onboarding(rows) & rows.finished_at.isnull()


def _open_other(rows: Any) -> Any:
    return (rows.kind != "onboarding") & rows.finished_at.isnull()


def _past_due(rows: Any) -> Any:
    return rows.due_at < rows.as_of


def _begun(rows: Any) -> Any:
    """A play that was held out did not begin."""
    return rows.assignment.fill_null("treated") != "held_out"


COUNTS = [
    Count("onboardings", "projects", lambda v: v.count(where=_onboarding(v)), _FINISHED),
    Count("onboardings_open", "projects", lambda v: v.count(where=_open_onboarding(v)), _FINISHED),
    Count("onboarding_open_age", "projects", lambda v: v.age.max(where=_open_onboarding(v)), _FINISHED),
    Count(
        "onboarding_overdue_age",
        "projects",
        lambda v: (v.as_of - v.due_at).max(where=_open_onboarding(v) & _past_due(v)),
        _DUE,
    ),
    Count(
        "onboarding_late_time",
        "projects",
        lambda v: (v.finished_at - v.due_at).max(where=_onboarding(v)),
        _DUE,
        empty=None,
    ),
    Count("other_projects_open", "projects", lambda v: v.count(where=_open_other(v)), _FINISHED),
    Count("other_projects_overdue", "projects", lambda v: v.count(where=_open_other(v) & _past_due(v)), _DUE),
    Count("plays_begun_90d", "plays", lambda v: v.count(where=_begun(v) & within(v, 90))),
    Count("plays_begun_365d", "plays", lambda v: v.count(where=_begun(v) & within(v, 365))),
    Count("plays_running", "plays", lambda v: v.count(where=_begun(v) & v.ended_at.isnull()), ("ended_at",)),
    Count("play_age", "plays", lambda v: v.age.min(where=_begun(v)), empty=None),
]


def _project(name: str, unit: str, direction: int, en: str, fi: str, expr: Callable[[Any], Any]) -> Feature:
    return Feature(name, unit, "projects", None, "onboarding_stalled", direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]


def _play(name: str, unit: str, window: int | None, en: str, fi: str, expr: Callable[[Any], Any]) -> Feature:
    """What our own people do carries no direction (domain.md §4)."""
    return Feature(name, unit, "plays", window, "tenure_and_profile", 0, {"en": en, "fi": fi}, expr)


FEATURES = [
    _project("onboarding_open_days", "days", 1, "days that the onboarding has been open", "päivää käyttöönotto avoinna",
             lambda c: days(c.onboarding_open_age)),
    _project("onboarding_overdue_days", "days", 1, "days that the onboarding is overdue", "päivää käyttöönotto myöhässä",
             lambda c: days(c.onboarding_overdue_age)),
    _project("onboarding_finished", "0/1", -1, "onboarding finished", "käyttöönotto valmis",
             lambda c: ibis.ifelse(c.onboardings > 0, c.onboardings_open == 0, None).cast("int64")),
    # Not "days": a negative one reads as passed, here it is finished early.
    _project("onboarding_late_days", "days late", 1, "days that the onboarding was finished late",
             "päivää käyttöönotto valmistui myöhässä", lambda c: days(c.onboarding_late_time)),
    _project("other_projects_open", "projects", 0, "open projects after the onboarding", "muuta avointa projektia",
             as_float("other_projects_open")),
    _project("other_projects_overdue", "projects", 1, "overdue projects after the onboarding", "muuta myöhässä olevaa projektia",
             as_float("other_projects_overdue")),
    _play("plays_begun_90d", "plays", 90, "plays begun in 90 days", "aloitettua toimintamallia 90 päivässä",
          as_float("plays_begun_90d")),
    _play("plays_begun_365d", "plays", 365, "plays begun in a year", "aloitettua toimintamallia vuodessa",
          as_float("plays_begun_365d")),
    _play("plays_running", "plays", None, "plays running", "käynnissä olevaa toimintamallia", as_float("plays_running")),
    _play("days_since_play", "days", None, "days since a play was last begun", "päivää edellisen toimintamallin aloituksesta",
          lambda c: days(c.play_age)),
]  # fmt: skip
