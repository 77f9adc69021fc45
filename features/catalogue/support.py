"""Features of support: load, speed, trouble and mood, with what people wrote down."""

from collections.abc import Callable
from typing import Any

from features.catalogue.declare import Count, Feature, as_float, days, fell_within, ratio, trend, within
from features.catalogue.usage import users

URGENT = ("urgent", "critical", "p1", "highest", "blocker")
HIGH = (*URGENT, "high", "p2", "major")


def _open(rows: Any) -> Any:
    return rows.resolved_at.isnull() | (rows.reopened_at > rows.resolved_at)


def _tickets(name: str, length: int, skip: int = 0) -> Count:
    return Count(f"tickets_{name}", "tickets", lambda v: v.count(where=within(v, length, skip=skip)))


def _happened(what: str, length: int) -> Count:
    column = f"{what}_at"
    return Count(f"tickets_{what}_{length}d", "tickets", lambda v: v.count(where=fell_within(v, column, length)), (column,))


def _of_priority(name: str, priorities: tuple[str, ...]) -> Count:
    return Count(
        f"tickets_{name}_90d", "tickets",
        lambda v: v.count(where=within(v, 90) & v.priority.lower().isin(priorities)), ("priority",),
    )  # fmt: skip


def _resolution_counts(name: str, length: int, skip: int = 0) -> list[Count]:
    def resolved(rows: Any) -> Any:
        return fell_within(rows, "resolved_at", length, skip=skip)

    return [
        Count(f"tickets_resolved_{name}", "tickets", lambda v: v.count(where=resolved(v)), ("resolved_at",)),
        Count(
            f"resolution_time_{name}", "tickets",
            lambda v: (v.resolved_at - v.opened_at).sum(where=resolved(v)), ("resolved_at",),
        ),
    ]  # fmt: skip


def _sentiment_counts(name: str, length: int, skip: int = 0) -> list[Count]:
    return [
        Count(
            f"sentiment_sum_{name}", "tickets",
            lambda v: v.sentiment.sum(where=within(v, length, skip=skip)), ("sentiment",), empty=None,
        ),
        Count(
            f"sentiment_rows_{name}", "tickets",
            lambda v: v.count(where=within(v, length, skip=skip) & v.sentiment.notnull()), ("sentiment",),
        ),
    ]  # fmt: skip


#: Kinds of notes as counted, with the days in which they are.
_NOTES = (
    ("complaints", "complaint", (30, 180)),
    ("feature_requests", "feature_request", (180,)),
    ("risks_noted", "risk", (30, 180)),
    ("praise", "praise", (90,)),
    ("opportunities", "opportunity", (90, 365)),
)


def _notes(name: str, kind: str, length: int) -> Count:
    return Count(f"{name}_{length}d", "observations", lambda v: v.count(where=within(v, length) & (v.kind == kind)))


COUNTS = [
    _tickets("180d_before", 180, 30),
    Count("escalated_last_at", "tickets", lambda v: v.escalated_at.max(), ("escalated_at",), empty=None),
    _tickets("7d", 7),
    _tickets("30d", 30),
    _tickets("90d", 90),
    _tickets("90d_before", 90, 90),
    _tickets("365d", 365),
    Count("tickets_open", "tickets", lambda v: v.count(where=_open(v)), ("resolved_at",)),
    Count("ticket_oldest_open", "tickets", lambda v: v.age.max(where=_open(v)), ("resolved_at",)),
    *_resolution_counts("90d", 90),
    *_resolution_counts("90d_before", 90, 90),
    Count(
        "first_responses_90d", "tickets",
        lambda v: v.count(where=within(v, 90) & v.first_response_at.notnull()), ("first_response_at",),
    ),
    Count(
        "first_response_time_90d", "tickets",
        lambda v: (v.first_response_at - v.opened_at).sum(where=within(v, 90) & v.first_response_at.notnull()),
        ("first_response_at",),
    ),
    _happened("reopened", 90),
    _happened("reopened", 365),
    _happened("escalated", 30),
    _happened("escalated", 90),
    _happened("escalated", 365),
    _of_priority("urgent", URGENT),
    _of_priority("high", HIGH),
    *_sentiment_counts("30d", 30),
    *_sentiment_counts("90d", 90),
    *_sentiment_counts("90d_before", 90, 90),
    *(_notes(name, kind, length) for name, kind, lengths in _NOTES for length in lengths),
]  # fmt: skip


def _hours(counts: Any, name: str) -> Any:
    return 24.0 * ratio(days(counts[f"resolution_time_{name}"]), counts[f"tickets_resolved_{name}"])


def _sentiment(counts: Any, name: str) -> Any:
    return ratio(counts[f"sentiment_sum_{name}"], counts[f"sentiment_rows_{name}"])


def _support(
    name: str,
    unit: str,
    window: int | None,
    direction: int,
    en: str,
    fi: str,
    expr: Callable[[Any], Any],
) -> Feature:
    return Feature(name, unit, "tickets", window, "support_friction", direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]  # fmt: skip


def _note(name: str, length: int, direction: int, en: str, fi: str, driver: str = "support_friction") -> Feature:
    phrase = {"en": f"{en} in {length} days", "fi": f"{fi} {length} päivässä"}
    key = f"{name}_{length}d"
    return Feature(key, "notes", "observations", length, driver, direction, phrase, as_float(key))  # type: ignore[arg-type]


FEATURES = [
    _support("tickets_7d", "tickets", 7, 0, "tickets in 7 days", "tukipyyntöä 7 päivässä", as_float("tickets_7d")),
    _support("tickets_30d", "tickets", 30, 0, "tickets in 30 days", "tukipyyntöä 30 päivässä", as_float("tickets_30d")),
    _support("tickets_90d", "tickets", 90, 0, "tickets in 90 days", "tukipyyntöä 90 päivässä", as_float("tickets_90d")),
    _support("tickets_365d", "tickets", 365, 0, "tickets in a year", "tukipyyntöä vuodessa", as_float("tickets_365d")),
    _support(
        "tickets_change_90d", "tickets", 180, 0, "more tickets than in the 90 days before",
        "tukipyyntöä enemmän kuin edellisinä 90 päivänä",
        lambda c: (c.tickets_90d - c.tickets_90d_before).cast("float64"),
    ),
    _support(
        "tickets_trend_30d_of_210d", "log ratio", 210, 0, "change of tickets, the last 30 days against the 180 before",
        "tukipyyntöjen muutos, viimeiset 30 päivää edellisiin 180:een",
        lambda c: trend(c, c.tickets_30d, 30, c.tickets_180d_before, 180),
    ),
    _support(
        "days_since_escalation", "days", None, 0, "days since a ticket was last escalated",
        "päivää siitä, kun tukipyyntö viimeksi eskaloitiin", lambda c: days(c.as_of - c.escalated_last_at),
    ),
    _support(
        "tickets_per_user_90d", "tickets a user", 90, 0, "tickets per active user in 90 days",
        "tukipyyntöä aktiivista käyttäjää kohden 90 päivässä",
        lambda c: ratio(c.tickets_90d, users(c, "90d")),
    ),
    _support("open_tickets", "tickets", None, 1, "open tickets", "avointa tukipyyntöä", as_float("tickets_open")),
    _support(
        "oldest_open_ticket_days", "days", None, 1, "days that the oldest open ticket has waited",
        "päivää vanhimman avoimen tukipyynnön odotusta", lambda c: days(c.ticket_oldest_open),
    ),
    _support(
        "resolution_hours_90d", "hours", 90, 1, "hours to resolve a ticket, mean of 90 days",
        "tuntia tukipyynnön ratkaisuun, 90 päivän keskiarvo", lambda c: _hours(c, "90d"),
    ),
    _support(
        "resolution_hours_change_90d", "hours", 180, 1, "more hours to resolve a ticket than in the 90 days before",
        "tuntia enemmän tukipyynnön ratkaisuun kuin edellisinä 90 päivänä",
        lambda c: _hours(c, "90d") - _hours(c, "90d_before"),
    ),
    _support(
        "first_response_hours_90d", "hours", 90, 1, "hours to the first response, mean of 90 days",
        "tuntia ensimmäiseen vastaukseen, 90 päivän keskiarvo",
        lambda c: 24.0 * ratio(days(c.first_response_time_90d), c.first_responses_90d),
    ),
    _support(
        "reopened_90d", "tickets", 90, 1, "tickets reopened in 90 days", "uudelleen avattua tukipyyntöä 90 päivässä",
        as_float("tickets_reopened_90d"),
    ),
    _support(
        "reopened_365d", "tickets", 365, 1, "tickets reopened in a year", "uudelleen avattua tukipyyntöä vuodessa",
        as_float("tickets_reopened_365d"),
    ),
    _support(
        "escalated_30d", "tickets", 30, 1, "tickets escalated in 30 days", "eskaloitua tukipyyntöä 30 päivässä",
        as_float("tickets_escalated_30d"),
    ),
    _support(
        "escalated_90d", "tickets", 90, 1, "tickets escalated in 90 days", "eskaloitua tukipyyntöä 90 päivässä",
        as_float("tickets_escalated_90d"),
    ),
    _support(
        "escalated_365d", "tickets", 365, 1, "tickets escalated in a year", "eskaloitua tukipyyntöä vuodessa",
        as_float("tickets_escalated_365d"),
    ),
    _support(
        "urgent_90d", "tickets", 90, 1, "urgent tickets in 90 days", "kiireellistä tukipyyntöä 90 päivässä",
        as_float("tickets_urgent_90d"),
    ),
    _support(
        "high_priority_share_90d", "share", 90, 1, "share of tickets of high priority in 90 days",
        "tukipyynnöistä korkean prioriteetin 90 päivässä", lambda c: ratio(c.tickets_high_90d, c.tickets_90d),
    ),
    _support(
        "sentiment_30d", "−1…1", 30, -1, "mean sentiment of tickets in 30 days", "tukipyyntöjen sävy 30 päivässä",
        lambda c: _sentiment(c, "30d"),
    ),
    _support(
        "sentiment_90d", "−1…1", 90, -1, "mean sentiment of tickets in 90 days", "tukipyyntöjen sävy 90 päivässä",
        lambda c: _sentiment(c, "90d"),
    ),
    _support(
        "sentiment_change_90d", "points", 180, -1, "change of the sentiment of tickets against the 90 days before",
        "tukipyyntöjen sävyn muutos edellisiin 90 päivään", lambda c: _sentiment(c, "90d") - _sentiment(c, "90d_before"),
    ),
    _note("complaints", 30, 1, "complaints noted", "kirjattua valitusta"),
    _note("complaints", 180, 1, "complaints noted", "kirjattua valitusta"),
    _note("feature_requests", 180, 0, "feature requests", "toiminnallisuustoivetta"),
    _note("risks_noted", 30, 1, "risks noted", "kirjattua riskiä"),
    _note("risks_noted", 180, 1, "risks noted", "kirjattua riskiä"),
    _note("praise", 90, -1, "words of praise noted", "kirjattua kehua", "negative_feedback"),
    _note("opportunities", 90, 0, "opportunities noted", "kirjattua mahdollisuutta", "growth"),
    _note("opportunities", 365, 0, "opportunities noted", "kirjattua mahdollisuutta", "growth"),
]  # fmt: skip
