"""Support: load, speed, trouble and mood, with what people wrote down."""

import numpy as np

from features.catalogue.support import HIGH, URGENT
from reference.arithmetic import Found, against, among, largest, mean, share, smallest, within
from reference.known import Rows

_RESOLVED, _ESCALATED, _REOPENED, _MOOD = ("resolved_at",), ("escalated_at",), ("reopened_at",), ("sentiment",)
NEEDS = {
    "days_since_escalation": _ESCALATED,
    "escalated_30d": _ESCALATED,
    "escalated_90d": _ESCALATED,
    "escalated_365d": _ESCALATED,
    "reopened_90d": _REOPENED,
    "reopened_365d": _REOPENED,
    "open_tickets": _RESOLVED,
    "oldest_open_ticket_days": _RESOLVED,
    "resolution_hours_90d": _RESOLVED,
    "resolution_hours_change_90d": _RESOLVED,
    "first_response_hours_90d": ("first_response_at",),
    "urgent_90d": ("priority",),
    "high_priority_share_90d": ("priority",),
    "sentiment_30d": _MOOD,
    "sentiment_90d": _MOOD,
    "sentiment_change_90d": _MOOD,
}


def tickets(rows: Rows, tenure: float, users_90d: float) -> Found:
    """Return the features of tickets; `users_90d`: active users, NaN where usage does not tell."""
    opened = rows.opened_ago

    def count(length: int, skip: int = 0) -> int:
        return int(within(opened, length, skip).sum())

    def hours(skip: int = 0) -> float:
        resolved = within(rows.resolved_ago, 90, skip)
        return 24 * mean((opened - rows.resolved_ago)[resolved])

    def sentiment(length: int, skip: int = 0) -> float:
        return mean(rows.sentiment[within(opened, length, skip) & ~np.isnan(rows.sentiment)])

    # Of two instants the later one is fewer days ago.
    is_open = np.isnan(rows.resolved_ago) | (rows.reopened_ago < rows.resolved_ago)
    recent = within(opened, 90)
    priorities = np.array([priority and priority.lower() for priority in rows.priority[recent]], dtype=object)
    return {
        **{f"tickets_{length}d": count(length) for length in (7, 30, 90, 365)},
        "tickets_change_90d": count(90) - count(90, 90),
        "tickets_trend_30d_of_210d": against(count(30), 30, count(180, 30), 180, tenure),
        "tickets_per_user_90d": share(count(90), users_90d),
        "days_since_escalation": smallest(rows.escalated_ago),
        **{f"escalated_{length}d": within(rows.escalated_ago, length).sum() for length in (30, 90, 365)},
        **{f"reopened_{length}d": within(rows.reopened_ago, length).sum() for length in (90, 365)},
        "open_tickets": is_open.sum(),
        "oldest_open_ticket_days": largest(opened[is_open], 0),
        "resolution_hours_90d": hours(),
        "resolution_hours_change_90d": hours() - hours(90),
        "first_response_hours_90d": 24 * mean((opened - rows.first_response_ago)[recent & ~np.isnan(rows.first_response_ago)]),
        "urgent_90d": among(priorities, URGENT).sum(),
        "high_priority_share_90d": mean(among(priorities, HIGH)),
        "sentiment_30d": sentiment(30),
        "sentiment_90d": sentiment(90),
        "sentiment_change_90d": sentiment(90) - sentiment(90, 90),
    }


def observations(rows: Rows) -> Found:
    """Return the features of what people wrote down."""

    def noted(kind: str, length: int) -> int:
        return int((within(rows.occurred_ago, length) & (rows.kind == kind)).sum())

    return {
        "complaints_30d": noted("complaint", 30),
        "complaints_180d": noted("complaint", 180),
        "feature_requests_180d": noted("feature_request", 180),
        "risks_noted_30d": noted("risk", 30),
        "risks_noted_180d": noted("risk", 180),
        "praise_90d": noted("praise", 90),
        "opportunities_90d": noted("opportunity", 90),
        "opportunities_365d": noted("opportunity", 365),
    }
