"""Features of the relation: touchpoints and their answers, who was met, who is known, who has left."""

from collections.abc import Callable
from typing import Any

import ibis

from features.catalogue.declare import (
    Count,
    Feature,
    as_float,
    days,
    fell_within,
    log_ratio,
    ratio,
    trend,
    unanswered_run,
    within,
)

MEETINGS = ("meeting", "qbr", "call")
DECIDERS = ("decision_maker", "executive")
_ANSWER = ("direction", "responded_at")
_ROLE = ("contact_id", "contact_role")


def _meeting(rows: Any) -> Any:
    return rows.kind.isin(MEETINGS)


def _decider_met(rows: Any) -> Any:
    return _meeting(rows) & rows.contact_role.isin(DECIDERS)


def _outreach(rows: Any) -> Any:
    return (rows.direction == "out") & ~_meeting(rows)


def _answered(rows: Any) -> Any:
    return _outreach(rows) & rows.responded_at.notnull()


def _inbound(rows: Any) -> Any:
    return rows.direction == "in"


def _left_within(rows: Any, length: int) -> Any:
    return fell_within(rows, "valid_to", length)


def derived_touchpoints(rows: Any) -> Any:
    """Add `unanswered_run`, `no_decider_run`: it stands after the last message answered, after the last decision maker."""
    named, decider = rows.contact_role.notnull(), rows.contact_role.isin(DECIDERS)
    return rows.mutate(
        unanswered_run=unanswered_run(rows, "occurred_at", _outreach(rows), _answered(rows)),
        no_decider_run=unanswered_run(rows, "occurred_at", named, decider),
    )


def _outreach_counts(name: str, length: int, skip: int = 0) -> list[Count]:
    return [
        Count(f"outreach_{name}", "touchpoints", lambda v: v.count(where=within(v, length, skip=skip) & _outreach(v)), _ANSWER),
        Count(
            f"outreach_answered_{name}", "touchpoints",
            lambda v: v.count(where=within(v, length, skip=skip) & _answered(v)), _ANSWER,
        ),
    ]  # fmt: skip


def _meeting_counts(name: str, length: int, skip: int = 0) -> list[Count]:
    return [
        Count(f"meetings_{name}", "touchpoints", lambda v: v.count(where=within(v, length, skip=skip) & _meeting(v))),
        Count(
            f"decider_meetings_{name}", "touchpoints",
            lambda v: v.count(where=within(v, length, skip=skip) & _decider_met(v)), _ROLE,
        ),
    ]  # fmt: skip


def _named_counts(name: str, length: int) -> list[Count]:
    return [
        Count(f"named_{name}", "touchpoints", lambda v: v.count(where=within(v, length) & v.contact_role.notnull()), _ROLE),
        Count(
            f"deciders_named_{name}", "touchpoints",
            lambda v: v.count(where=within(v, length) & v.contact_role.isin(DECIDERS)), _ROLE,
        ),
    ]  # fmt: skip


def _took_part(rows: Any) -> Any:
    """Touchpoints in which the customer took part: it wrote or called, answered, or met us; a call may have met nobody."""
    return _inbound(rows) | rows.responded_at.notnull() | rows.kind.isin(("meeting", "qbr"))


def _took_part_count(name: str, length: int, skip: int = 0) -> Count:
    return Count(
        f"took_part_{name}", "touchpoints", lambda v: v.count(where=within(v, length, skip=skip) & _took_part(v)), _ANSWER
    )


def _inbound_count(name: str, length: int, skip: int = 0) -> Count:
    return Count(
        f"inbound_{name}", "touchpoints", lambda v: v.count(where=within(v, length, skip=skip) & _inbound(v)), ("direction",)
    )


COUNTS = [
    Count("touches_90d", "touchpoints", lambda v: v.count(where=within(v, 90))),
    Count("touches_30d", "touchpoints", lambda v: v.count(where=within(v, 30))),
    Count("touches_60d", "touchpoints", lambda v: v.count(where=within(v, 60))),
    _took_part_count("30d", 30),
    _took_part_count("60d", 60),
    _took_part_count("335d_before", 335, 30),
    Count("took_part_age", "touchpoints", lambda v: v.age.min(where=_took_part(v)), _ANSWER, empty=None),
    Count("no_decider_run", "touchpoints", lambda v: v.count(where=v.no_decider_run), _ROLE),
    _inbound_count("30d", 30),
    _inbound_count("90d", 90),
    _inbound_count("90d_before", 90, 90),
    _meeting_counts("30d", 30)[0],
    *_meeting_counts("90d", 90),
    *_meeting_counts("365d", 365),
    _meeting_counts("90d_before", 90, 90)[1],
    Count("trainings_365d", "touchpoints", lambda v: v.count(where=within(v, 365) & v.kind.isin(("training", "webinar")))),
    *_named_counts("30d", 30),
    *_named_counts("60d", 60),
    *_named_counts("90d", 90),
    *_outreach_counts("30d", 30),
    *_outreach_counts("90d", 90),
    *_outreach_counts("90d_before", 90, 90),
    *_outreach_counts("365d", 365),
    Count("outreach_unanswered_run", "touchpoints", lambda v: v.count(where=v.unanswered_run), _ANSWER),
    Count("reply_at", "touchpoints", lambda v: v.responded_at.max(), ("responded_at",), empty=None),
    Count("touch_age", "touchpoints", lambda v: v.age.min(), empty=None),
    Count("meeting_age", "touchpoints", lambda v: v.age.min(where=_meeting(v)), empty=None),
    Count("decider_met_age", "touchpoints", lambda v: v.age.min(where=_decider_met(v)), _ROLE, empty=None),
    Count("contacts_met_90d", "touchpoints", lambda v: v.contact_id.nunique(where=within(v, 90)), ("contact_id",)),
    Count(
        "deciders_met_90d", "touchpoints",
        lambda v: v.contact_id.nunique(where=within(v, 90) & v.contact_role.isin(DECIDERS)), _ROLE,
    ),
    Count("roles_met_90d", "touchpoints", lambda v: v.contact_role.nunique(where=within(v, 90)), _ROLE),
    Count("deciders", "contacts", lambda v: v.contact_id.nunique(where=v.role.isin(DECIDERS) & v.valid_to.isnull()), ("role",)),
    Count("champions", "contacts", lambda v: v.count(where=(v.role == "champion") & v.valid_to.isnull()), ("role", "valid_to")),
    Count("roles_known", "contacts", lambda v: v.role.nunique(where=v.valid_to.isnull()), ("role",)),
    Count(
        "champion_left_at", "contacts", lambda v: v.valid_to.max(where=v.role == "champion"), ("role", "valid_to"), empty=None
    ),
    Count(
        "champions_left_180d", "contacts",
        lambda v: v.contact_id.nunique(where=(v.role == "champion") & _left_within(v, 180)), ("role", "valid_to"),
    ),
    Count(
        "deciders_left_180d", "contacts",
        lambda v: v.contact_id.nunique(where=v.role.isin(DECIDERS) & _left_within(v, 180)), ("role", "valid_to"),
    ),
]  # fmt: skip


def _feature(source: str, driver: str) -> Callable[[str, str, int | None, int, str, str, Callable[[Any], Any]], Feature]:
    def declare(
        name: str, unit: str, window: int | None, direction: int, en: str, fi: str, expr: Callable[[Any], Any]
    ) -> Feature:
        return Feature(name, unit, source, window, driver, direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]

    return declare


_touch = _feature("touchpoints", "silence")
#: How often we are in touch says what we did: that the customer is silent, its answers say.
_ours = _feature("touchpoints", "tenure_and_profile")
_stakeholder = _feature("touchpoints", "stakeholder_gap")
_known = _feature("contacts", "stakeholder_gap")
_left = _feature("contacts", "champion_left")

# What our own people do carries no direction: they call those they worry about (domain.md §4).
FEATURES = [
    _ours("touchpoints_90d", "touchpoints", 90, 0, "touchpoints in 90 days", "kontaktia 90 päivässä",
          as_float("touches_90d")),
    _touch("meetings_30d", "meetings", 30, 0, "meetings and calls in 30 days", "tapaamista ja puhelua 30 päivässä",
           as_float("meetings_30d")),
    _touch("meetings_90d", "meetings", 90, 0, "meetings and calls in 90 days", "tapaamista ja puhelua 90 päivässä",
           as_float("meetings_90d")),
    _touch("meetings_365d", "meetings", 365, 0, "meetings and calls in a year", "tapaamista ja puhelua vuodessa",
           as_float("meetings_365d")),
    _touch("trainings_365d", "trainings", 365, 0, "trainings attended in a year", "koulutusta vuodessa",
           as_float("trainings_365d")),
    _touch("inbound_30d", "touchpoints", 30, 0, "contacts that the customer began in 30 days",
           "asiakkaan aloittamaa yhteydenottoa 30 päivässä", as_float("inbound_30d")),
    _touch("inbound_90d", "touchpoints", 90, 0, "contacts that the customer began in 90 days",
           "asiakkaan aloittamaa yhteydenottoa 90 päivässä", as_float("inbound_90d")),
    _touch("inbound_trend_90d", "log ratio", 180, 0, "change of contacts that the customer began, against the 90 days before",
           "asiakkaan aloittamien yhteydenottojen muutos edellisiin 90 päivään",
           lambda c: log_ratio(c.inbound_90d, c.inbound_90d_before)),
    _touch("outreach_unanswered_90d", "messages", 90, 0, "messages without an answer in 90 days",
           "viestiä vailla vastausta 90 päivässä",
           lambda c: (c.outreach_90d - c.outreach_answered_90d).cast("float64")),
    _touch("outreach_unanswered_run", "messages", None, 0, "messages without an answer since the last one answered",
           "viestiä peräkkäin vailla vastausta", as_float("outreach_unanswered_run")),
    _touch("outreach_answered_share_30d", "share", 30, -1, "share of messages answered in 30 days",
           "viesteistä vastattu 30 päivässä", lambda c: ratio(c.outreach_answered_30d, c.outreach_30d)),
    _touch("outreach_answered_share_90d", "share", 90, -1, "share of messages answered in 90 days",
           "viesteistä vastattu 90 päivässä", lambda c: ratio(c.outreach_answered_90d, c.outreach_90d)),
    _touch("outreach_answered_share_365d", "share", 365, -1, "share of messages answered in a year",
           "viesteistä vastattu vuodessa", lambda c: ratio(c.outreach_answered_365d, c.outreach_365d)),
    _touch("outreach_answered_change_90d", "share", 180, -1,
           "change of the share of messages answered, against the 90 days before",
           "muutos vastattujen viestien osuudessa edellisiin 90 päivään",
           lambda c: ratio(c.outreach_answered_90d, c.outreach_90d)
           - ratio(c.outreach_answered_90d_before, c.outreach_90d_before)),
    _touch("days_since_reply", "days", None, 0, "days since the last answer to a message",
           "päivää edellisestä vastauksesta viestiin",
           lambda c: days(c.as_of - c.reply_at)),
    _touch("contact_share_30d", "share", 30, -1, "share of touchpoints in 30 days in which the customer took part",
           "kontakteista 30 päivässä, joissa asiakas oli mukana", lambda c: ratio(c.took_part_30d, c.touches_30d)),
    _touch("contact_share_60d", "share", 60, -1, "share of touchpoints in 60 days in which the customer took part",
           "kontakteista 60 päivässä, joissa asiakas oli mukana", lambda c: ratio(c.took_part_60d, c.touches_60d)),
    _touch("contacts_60d", "touchpoints", 60, 0, "touchpoints in 60 days in which the customer took part",
           "kontaktia 60 päivässä, joissa asiakas oli mukana", as_float("took_part_60d")),
    _touch("contacts_trend_30d_of_365d", "log ratio", 365, 0,
           "change of touchpoints in which the customer took part, the last 30 days against the year",
           "muutos kontakteissa, joissa asiakas oli mukana, viimeiset 30 päivää vuoteen",
           lambda c: trend(c, c.took_part_30d, 30, c.took_part_335d_before, 335)),
    _touch("days_since_contact", "days", None, 0, "days since the customer last wrote, called, answered or met us",
           "päivää siitä, kun asiakas viimeksi kirjoitti, soitti, vastasi tai tapasi meidät", lambda c: days(c.took_part_age)),
    _ours("days_since_touch", "days", None, 0, "days since the last touchpoint", "päivää edellisestä kontaktista",
          lambda c: days(c.touch_age)),
    _touch("days_since_meeting", "days", None, 0, "days since the last meeting or call",
           "päivää edellisestä tapaamisesta tai puhelusta", lambda c: days(c.meeting_age)),
    _stakeholder("contacts_met_90d", "contacts", 90, 0, "people met in 90 days", "tavattua henkilöä 90 päivässä",
                 as_float("contacts_met_90d")),
    _stakeholder("roles_met_90d", "roles", 90, 0, "roles met in 90 days", "tavattua roolia 90 päivässä",
                 as_float("roles_met_90d")),
    _stakeholder("decision_makers_met_90d", "contacts", 90, 0, "decision makers met in 90 days",
                 "tavattua päättäjää 90 päivässä", as_float("deciders_met_90d")),
    _stakeholder("decision_maker_share_30d", "share", 30, 0, "share of touchpoints in 30 days with a decision maker",
                 "kontakteista päättäjän kanssa 30 päivässä", lambda c: ratio(c.deciders_named_30d, c.named_30d)),
    _stakeholder("decision_maker_share_90d", "share", 90, 0, "share of touchpoints in 90 days with a decision maker",
                 "kontakteista päättäjän kanssa 90 päivässä", lambda c: ratio(c.deciders_named_90d, c.named_90d)),
    _stakeholder("decision_maker_share_60d", "share", 60, 0, "share of touchpoints in 60 days with a decision maker",
                 "kontakteista päättäjän kanssa 60 päivässä", lambda c: ratio(c.deciders_named_60d, c.named_60d)),
    _stakeholder("touchpoints_since_decision_maker", "touchpoints", None, 0, "touchpoints since one with a decision maker",
                 "kontaktia edellisestä päättäjäkontaktista", as_float("no_decider_run")),
    _stakeholder("decision_maker_meetings_change_90d", "meetings", 180, 0,
                 "more meetings with decision makers than in the 90 days before",
                 "päättäjätapaamista enemmän kuin edellisinä 90 päivänä",
                 lambda c: (c.decider_meetings_90d - c.decider_meetings_90d_before).cast("float64")),
    _stakeholder("decision_maker_meetings_share_365d", "share", 365, 0, "share of the year's meetings with a decision maker",
                 "vuoden tapaamisista päättäjän kanssa", lambda c: ratio(c.decider_meetings_365d, c.meetings_365d)),
    _stakeholder("days_since_decision_maker_met", "days", None, 0, "days since a decision maker was last met",
                 "päivää edellisestä päättäjän tapaamisesta", lambda c: days(c.decider_met_age)),
    _known("decision_makers", "contacts", None, 0, "known decision makers", "tunnettua päättäjää", as_float("deciders")),
    _known("roles_known", "roles", None, 0, "roles of the people we know", "tunnettujen henkilöiden roolia",
           as_float("roles_known")),
    _left("has_champion", "0/1", None, -1, "someone speaks for us", "meillä on puolestapuhuja",
          lambda c: (c.champions > 0).cast("int64")),
    # Long ago is not plainly worse than lately.
    _left("days_without_champion", "days", None, 0, "days since the last champion left without a successor",
          "päivää puolestapuhujan lähdöstä ilman seuraajaa",
          lambda c: days(ibis.ifelse(c.champions == 0, c.as_of - c.champion_left_at, None))),
    _left("champions_left_180d", "contacts", 180, 1, "champions who left in 180 days",
          "lähtenyttä puolestapuhujaa 180 päivässä", as_float("champions_left_180d")),
    _left("decision_makers_left_180d", "contacts", 180, 1, "decision makers who left in 180 days",
          "lähtenyttä päättäjää 180 päivässä", as_float("deciders_left_180d")),
]  # fmt: skip
