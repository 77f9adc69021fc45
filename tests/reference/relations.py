"""The relation: touchpoints and their answers, who was met, who is known, who has left."""

import math

import numpy as np

from features.catalogue.relations import DECIDERS, MEETINGS
from reference.arithmetic import Found, against, among, distinct, given, log_ratio, mean, share, smallest, unanswered_run, within
from reference.known import Rows

_ANSWER, _LEFT = ("direction", "responded_at"), ("role", "valid_to")
NEEDS = {
    "inbound_30d": ("direction",),
    "inbound_90d": ("direction",),
    "inbound_trend_90d": ("direction",),
    "outreach_unanswered_90d": _ANSWER,
    "outreach_unanswered_run": _ANSWER,
    "outreach_answered_share_30d": _ANSWER,
    "outreach_answered_share_90d": _ANSWER,
    "outreach_answered_share_365d": _ANSWER,
    "outreach_answered_change_90d": _ANSWER,
    "days_since_reply": ("responded_at",),
    "contact_share_30d": _ANSWER,
    "contact_share_60d": _ANSWER,
    "contacts_60d": _ANSWER,
    "contacts_trend_30d_of_365d": _ANSWER,
    "days_since_contact": _ANSWER,
    "contacts_met_90d": ("contact_id",),
    "decision_makers": ("role",),
    "roles_known": ("role",),
    "has_champion": _LEFT,
    "days_without_champion": _LEFT,
    "champions_left_180d": _LEFT,
    "decision_makers_left_180d": _LEFT,
}
#: Features that need to know the role of whom was met: a contact's id here, its role among the contacts.
OF_ROLES = (
    "roles_met_90d",
    "decision_makers_met_90d",
    "decision_maker_share_30d",
    "decision_maker_share_60d",
    "decision_maker_share_90d",
    "touchpoints_since_decision_maker",
    "decision_maker_meetings_change_90d",
    "decision_maker_meetings_share_365d",
    "days_since_decision_maker_met",
)


def role_of_each(contacts: Rows) -> dict[str, str]:
    """The role that each person who has not left holds now: the last one begun; one without a beginning is the oldest."""
    held = np.isnan(contacts.valid_to_ago) & given(contacts.role)
    begun = np.nan_to_num(contacts.valid_from_ago, nan=math.inf)
    order = [row for row in np.argsort(-begun, kind="stable") if held[row]]
    return {contacts.contact_id[row]: contacts.role[row] for row in order}


def touchpoints(rows: Rows, roles: dict[str, str], tenure: float) -> Found:
    """Return the features of touchpoints."""
    ago = rows.occurred_ago
    meeting, inbound, answered = among(rows.kind, MEETINGS), rows.direction == "in", ~np.isnan(rows.responded_ago)
    outreach = (rows.direction == "out") & ~meeting
    # A call may have met nobody.
    took_part = inbound | answered | among(rows.kind, ("meeting", "qbr"))
    role = np.array([roles.get(contact) for contact in rows.contact_id], dtype=object)
    named, decider = given(role), among(role, DECIDERS)

    def count(which: np.ndarray, length: int, skip: int = 0) -> int:
        return int((which & within(ago, length, skip)).sum())

    def answered_share(length: int, skip: int = 0) -> float:
        return mean(answered[outreach & within(ago, length, skip)])

    def took_part_share(length: int) -> float:
        return mean(took_part[within(ago, length)])

    def decider_share(length: int) -> float:
        return mean(decider[named & within(ago, length)])

    quarter = within(ago, 90)
    return {
        "touchpoints_90d": quarter.sum(),
        **{f"meetings_{length}d": count(meeting, length) for length in (30, 90, 365)},
        "trainings_365d": count(among(rows.kind, ("training", "webinar")), 365),
        "inbound_30d": count(inbound, 30),
        "inbound_90d": count(inbound, 90),
        "inbound_trend_90d": log_ratio(count(inbound, 90), count(inbound, 90, 90)),
        "outreach_unanswered_90d": count(outreach & ~answered, 90),
        "outreach_unanswered_run": unanswered_run(ago[outreach], answered[outreach]),
        **{f"outreach_answered_share_{length}d": answered_share(length) for length in (30, 90, 365)},
        "outreach_answered_change_90d": answered_share(90) - answered_share(90, 90),
        "days_since_reply": smallest(rows.responded_ago),
        "contact_share_30d": took_part_share(30),
        "contact_share_60d": took_part_share(60),
        "contacts_60d": count(took_part, 60),
        "contacts_trend_30d_of_365d": against(count(took_part, 30), 30, count(took_part, 335, 30), 335, tenure),
        "days_since_contact": smallest(ago[took_part]),
        "days_since_touch": smallest(ago),
        "days_since_meeting": smallest(ago[meeting]),
        "contacts_met_90d": distinct(rows.contact_id[quarter]),
        "roles_met_90d": distinct(role[quarter]),
        "decision_makers_met_90d": distinct(rows.contact_id[quarter & decider]),
        **{f"decision_maker_share_{length}d": decider_share(length) for length in (30, 60, 90)},
        "touchpoints_since_decision_maker": unanswered_run(ago[named], decider[named]),
        "decision_maker_meetings_change_90d": count(meeting & decider, 90) - count(meeting & decider, 90, 90),
        "decision_maker_meetings_share_365d": share(count(meeting & decider, 365), count(meeting, 365)),
        "days_since_decision_maker_met": smallest(ago[meeting & decider]),
    }


def contacts(rows: Rows) -> Found:
    """Return the features of the people we know."""
    here = np.isnan(rows.valid_to_ago)
    champion, decider = rows.role == "champion", among(rows.role, DECIDERS)
    left = within(rows.valid_to_ago, 180)
    has_champion = bool((champion & here).any())
    return {
        "decision_makers": distinct(rows.contact_id[decider & here]),
        "roles_known": distinct(rows.role[here]),
        "has_champion": has_champion,
        "days_without_champion": math.nan if has_champion else smallest(rows.valid_to_ago[champion]),
        "champions_left_180d": distinct(rows.contact_id[champion & left]),
        "decision_makers_left_180d": distinct(rows.contact_id[decider & left]),
    }
