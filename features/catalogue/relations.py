"""Features of the relation: touchpoints, who was met, who has left, onboarding and payment."""

from collections.abc import Callable
from typing import Any

import ibis

from features.catalogue.declare import DAY, Count, Feature, as_float, days, ratio, within

MEETINGS = ("meeting", "qbr", "call")
DECIDERS = ("decision_maker", "executive")


def _meeting(rows: Any) -> Any:
    return rows.kind.isin(MEETINGS)


def _outreach(rows: Any) -> Any:
    return within(rows, 90) & (rows.direction == "out") & ~_meeting(rows)


COUNTS = [
    Count("touches_90d", "touchpoints", lambda v: v.count(where=within(v, 90))),
    Count("touches_inbound_90d", "touchpoints", lambda v: v.count(where=within(v, 90) & (v.direction == "in")), ("direction",)),
    Count("meetings_90d", "touchpoints", lambda v: v.count(where=within(v, 90) & _meeting(v))),
    Count("meetings_365d", "touchpoints", lambda v: v.count(where=within(v, 365) & _meeting(v))),
    Count("trainings_365d", "touchpoints", lambda v: v.count(where=within(v, 365) & v.kind.isin(("training", "webinar")))),
    Count("outreach_90d", "touchpoints", lambda v: v.count(where=_outreach(v)), ("direction",)),
    Count(
        "outreach_answered_90d", "touchpoints",
        lambda v: v.count(where=_outreach(v) & v.responded_at.notnull()), ("direction", "responded_at"),
    ),
    Count("touch_age", "touchpoints", lambda v: v.age.min(), empty=None),
    Count("meeting_age", "touchpoints", lambda v: v.age.min(where=_meeting(v)), empty=None),
    Count("contacts_met_90d", "touchpoints", lambda v: v.contact_id.nunique(where=within(v, 90)), ("contact_id",)),
    Count(
        "deciders_met_90d", "touchpoints",
        lambda v: v.contact_id.nunique(where=within(v, 90) & v.contact_role.isin(DECIDERS)), ("contact_id", "contact_role"),
    ),
    Count(
        "roles_met_90d", "touchpoints",
        lambda v: v.contact_role.nunique(where=within(v, 90)), ("contact_id", "contact_role"),
    ),
    Count("deciders", "contacts", lambda v: v.contact_id.nunique(where=v.role.isin(DECIDERS) & v.valid_to.isnull()), ("role",)),
    Count(
        "champions_left_180d", "contacts",
        lambda v: v.contact_id.nunique(where=(v.role == "champion") & _left_within(v, 180)), ("role", "valid_to"),
    ),
    Count(
        "deciders_left_180d", "contacts",
        lambda v: v.contact_id.nunique(where=v.role.isin(DECIDERS) & _left_within(v, 180)), ("role", "valid_to"),
    ),
    Count("invoices_unpaid", "invoices", lambda v: v.count(where=_unpaid(v)), ("paid_at",)),
    Count("overdue_age", "invoices", lambda v: (v.as_of - v.due_at).max(where=_overdue(v)), ("paid_at",)),
    Count("overdue_amount", "invoices", lambda v: v.reported.sum(where=_overdue(v)), ("paid_at",)),
    Count("invoices_paid_365d", "invoices", lambda v: v.count(where=_paid(v)), ("paid_at",)),
    Count("invoices_late_365d", "invoices", lambda v: v.count(where=_paid(v) & (v.paid_at > v.due_at)), ("paid_at",)),
    Count(
        "late_time_365d", "invoices",
        lambda v: (v.paid_at - v.due_at).sum(where=_paid(v) & (v.paid_at > v.due_at)), ("paid_at",),
    ),
    Count("onboardings", "projects", lambda v: v.count(where=_onboarding(v)), ("kind", "finished_at")),
    Count("onboardings_open", "projects", lambda v: v.count(where=_unfinished(v)), ("kind", "finished_at")),
    Count("onboarding_open_age", "projects", lambda v: v.age.max(where=_unfinished(v)), ("kind", "finished_at")),
    Count(
        "onboarding_overdue_age", "projects",
        lambda v: (v.as_of - v.due_at).max(where=_unfinished(v) & (v.due_at < v.as_of)), ("kind", "finished_at", "due_at"),
    ),
]  # fmt: skip


def _left_within(rows: Any, days: int) -> Any:
    return rows.valid_to >= rows.as_of - days * DAY


def _unpaid(rows: Any) -> Any:
    """Credit notes, of zero or less, are never paid."""
    return rows.paid_at.isnull() & (rows.amount > 0)


def _overdue(rows: Any) -> Any:
    return _unpaid(rows) & (rows.due_at < rows.as_of)


def _paid(rows: Any) -> Any:
    return rows.paid_at >= rows.as_of - 365 * DAY


def _onboarding(rows: Any) -> Any:
    return rows.kind == "onboarding"


def _unfinished(rows: Any) -> Any:
    return _onboarding(rows) & rows.finished_at.isnull()


def _feature(source: str, driver: str) -> Callable[[str, str, int | None, int, str, str, Callable[[Any], Any]], Feature]:
    def declare(
        name: str, unit: str, window: int | None, direction: int, en: str, fi: str, expr: Callable[[Any], Any]
    ) -> Feature:
        return Feature(name, unit, source, window, driver, direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]

    return declare


_touch = _feature("touchpoints", "silence")
_stakeholder = _feature("touchpoints", "stakeholder_gap")
_left = _feature("contacts", "champion_left")
_payment = _feature("invoices", "payment_trouble")
_onboard = _feature("projects", "onboarding_stalled")

# What our own people do carries no direction: they call those they worry about (domain.md §4).
FEATURES = [
    _touch("touchpoints_90d", "touchpoints", 90, 0, "touchpoints in 90 days", "kontaktia 90 päivässä",
           as_float("touches_90d")),
    _touch("meetings_90d", "meetings", 90, 0, "meetings and calls in 90 days", "tapaamista ja puhelua 90 päivässä",
           as_float("meetings_90d")),
    _touch("meetings_365d", "meetings", 365, 0, "meetings and calls in a year", "tapaamista ja puhelua vuodessa",
           as_float("meetings_365d")),
    _touch("trainings_365d", "trainings", 365, 0, "trainings attended in a year", "koulutusta vuodessa",
           as_float("trainings_365d")),
    _touch("inbound_90d", "touchpoints", 90, 0, "contacts that the customer began in 90 days",
           "asiakkaan aloittamaa yhteydenottoa 90 päivässä", as_float("touches_inbound_90d")),
    _touch("outreach_unanswered_90d", "messages", 90, 0, "messages without an answer in 90 days",
           "viestiä vailla vastausta 90 päivässä",
           lambda c: (c.outreach_90d - c.outreach_answered_90d).cast("float64")),
    _touch("outreach_answered_share_90d", "share", 90, -1, "share of messages answered in 90 days",
           "viesteistä vastattu 90 päivässä", lambda c: ratio(c.outreach_answered_90d, c.outreach_90d)),
    _touch("days_since_touch", "days", None, 0, "days since the last touchpoint", "päivää edellisestä kontaktista",
           lambda c: days(c.touch_age)),
    _touch("days_since_meeting", "days", None, 0, "days since the last meeting or call",
           "päivää edellisestä tapaamisesta tai puhelusta", lambda c: days(c.meeting_age)),
    _stakeholder("contacts_met_90d", "contacts", 90, 0, "people met in 90 days", "tavattua henkilöä 90 päivässä",
                 as_float("contacts_met_90d")),
    _stakeholder("roles_met_90d", "roles", 90, 0, "roles met in 90 days", "tavattua roolia 90 päivässä",
                 as_float("roles_met_90d")),
    _stakeholder("decision_makers_met_90d", "contacts", 90, 0, "decision makers met in 90 days",
                 "tavattua päättäjää 90 päivässä", as_float("deciders_met_90d")),
    Feature("decision_makers", "contacts", "contacts", None, "stakeholder_gap", 0,
            {"en": "known decision makers", "fi": "tunnettua päättäjää"}, as_float("deciders")),
    _left("champions_left_180d", "contacts", 180, 1, "champions who left in 180 days",
          "lähtenyttä puolestapuhujaa 180 päivässä", as_float("champions_left_180d")),
    _left("decision_makers_left_180d", "contacts", 180, 1, "decision makers who left in 180 days",
          "lähtenyttä päättäjää 180 päivässä", as_float("deciders_left_180d")),
    _payment("unpaid_invoices", "invoices", None, 1, "unpaid invoices", "maksamatonta laskua",
             as_float("invoices_unpaid")),
    _payment("overdue_days_max", "days", None, 1, "days that the oldest unpaid invoice is overdue",
             "päivää vanhimman laskun eräpäivästä", lambda c: days(c.overdue_age)),
    _payment("overdue_share_of_mrr", "months", None, 1, "months of revenue overdue",
             "kuukauden laskutus erääntyneenä", lambda c: ratio(c.overdue_amount, c.mrr_running)),
    _payment("paid_late_share_365d", "share", 365, 1, "share of invoices paid late in a year",
             "laskuista maksettu myöhässä vuodessa", lambda c: ratio(c.invoices_late_365d, c.invoices_paid_365d)),
    _payment("late_days_mean_365d", "days", 365, 1, "days late per paid invoice in a year",
             "päivää myöhässä maksettua laskua kohden vuodessa",
             lambda c: ratio(days(c.late_time_365d), c.invoices_paid_365d)),
    _onboard("onboarding_open_days", "days", None, 1, "days that the onboarding has been open",
             "päivää käyttöönotto avoinna", lambda c: days(c.onboarding_open_age)),
    _onboard("onboarding_overdue_days", "days", None, 1, "days that the onboarding is overdue",
             "päivää käyttöönotto myöhässä", lambda c: days(c.onboarding_overdue_age)),
    _onboard("onboarding_finished", "0/1", None, -1, "onboarding finished", "käyttöönotto valmis",
             lambda c: ibis.ifelse(c.onboardings > 0, c.onboardings_open == 0, None).cast("int64")),
]  # fmt: skip
