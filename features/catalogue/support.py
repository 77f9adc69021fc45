"""Features of support: load, speed, trouble and mood, with what people wrote down."""

from collections.abc import Callable
from typing import Any

from features.catalogue.declare import DAY, Count, Feature, as_float, days, ratio, within
from features.catalogue.usage import users

URGENT = ("urgent", "critical", "p1", "highest", "blocker")

COUNTS = [
    Count("tickets_30d", "tickets", lambda v: v.count(where=within(v, 30))),
    Count("tickets_90d", "tickets", lambda v: v.count(where=within(v, 90))),
    Count("tickets_90d_before", "tickets", lambda v: v.count(where=within(v, 90, skip=90))),
    Count("tickets_open", "tickets", lambda v: v.count(where=_open(v)), ("resolved_at",)),
    Count("ticket_oldest_open", "tickets", lambda v: v.age.max(where=_open(v)), ("resolved_at",)),
    Count("tickets_resolved_90d", "tickets", lambda v: v.count(where=_resolved(v)), ("resolved_at",)),
    Count(
        "resolution_time_90d", "tickets",
        lambda v: (v.resolved_at - v.opened_at).sum(where=_resolved(v)), ("resolved_at",),
    ),
    Count(
        "first_responses_90d", "tickets",
        lambda v: v.count(where=within(v, 90) & v.first_response_at.notnull()), ("first_response_at",),
    ),
    Count(
        "first_response_time_90d", "tickets",
        lambda v: (v.first_response_at - v.opened_at).sum(where=within(v, 90) & v.first_response_at.notnull()),
        ("first_response_at",),
    ),
    Count(
        "tickets_reopened_90d", "tickets", lambda v: v.count(where=v.reopened_at >= v.as_of - 90 * DAY), ("reopened_at",)
    ),
    Count(
        "tickets_escalated_90d", "tickets",
        lambda v: v.count(where=v.escalated_at >= v.as_of - 90 * DAY), ("escalated_at",),
    ),
    Count(
        "tickets_urgent_90d", "tickets",
        lambda v: v.count(where=within(v, 90) & v.priority.lower().isin(URGENT)), ("priority",),
    ),
    Count("sentiment_sum_90d", "tickets", lambda v: v.sentiment.sum(where=within(v, 90)), ("sentiment",), empty=None),
    Count(
        "sentiment_rows_90d", "tickets",
        lambda v: v.count(where=within(v, 90) & v.sentiment.notnull()), ("sentiment",),
    ),
    Count("complaints_180d", "observations", lambda v: v.count(where=within(v, 180) & (v.kind == "complaint"))),
    Count(
        "feature_requests_180d", "observations", lambda v: v.count(where=within(v, 180) & (v.kind == "feature_request"))
    ),
    Count("risks_noted_180d", "observations", lambda v: v.count(where=within(v, 180) & (v.kind == "risk"))),
]  # fmt: skip


def _open(rows: Any) -> Any:
    return rows.resolved_at.isnull() | (rows.reopened_at > rows.resolved_at)


def _resolved(rows: Any) -> Any:
    return rows.resolved_at >= rows.as_of - 90 * DAY


def _support(
    name: str,
    unit: str,
    window: int | None,
    direction: int,
    en: str,
    fi: str,
    expr: Callable[[Any], Any],
    source: str = "tickets",
) -> Feature:
    return Feature(name, unit, source, window, "support_friction", direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]  # fmt: skip


FEATURES = [
    _support("tickets_30d", "tickets", 30, 0, "tickets in 30 days", "tukipyyntöä 30 päivässä", as_float("tickets_30d")),
    _support("tickets_90d", "tickets", 90, 0, "tickets in 90 days", "tukipyyntöä 90 päivässä", as_float("tickets_90d")),
    _support(
        "tickets_change_90d", "tickets", 180, 0, "more tickets than in the 90 days before",
        "tukipyyntöä enemmän kuin edellisinä 90 päivänä",
        lambda c: (c.tickets_90d - c.tickets_90d_before).cast("float64"),
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
        "tuntia tukipyynnön ratkaisuun, 90 päivän keskiarvo",
        lambda c: 24.0 * ratio(days(c.resolution_time_90d), c.tickets_resolved_90d),
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
        "escalated_90d", "tickets", 90, 1, "tickets escalated in 90 days", "eskaloitua tukipyyntöä 90 päivässä",
        as_float("tickets_escalated_90d"),
    ),
    _support(
        "urgent_90d", "tickets", 90, 1, "urgent tickets in 90 days", "kiireellistä tukipyyntöä 90 päivässä",
        as_float("tickets_urgent_90d"),
    ),
    _support(
        "sentiment_90d", "−1…1", 90, -1, "mean sentiment of tickets in 90 days", "tukipyyntöjen sävy 90 päivässä",
        lambda c: ratio(c.sentiment_sum_90d, c.sentiment_rows_90d),
    ),
    _support(
        "complaints_180d", "notes", 180, 1, "complaints noted in 180 days", "kirjattua valitusta 180 päivässä",
        as_float("complaints_180d"), "observations",
    ),
    _support(
        "feature_requests_180d", "notes", 180, 0, "feature requests in 180 days", "toiminnallisuustoivetta 180 päivässä",
        as_float("feature_requests_180d"), "observations",
    ),
    _support(
        "risks_noted_180d", "notes", 180, 1, "risks noted in 180 days", "kirjattua riskiä 180 päivässä",
        as_float("risks_noted_180d"), "observations",
    ),
]  # fmt: skip
