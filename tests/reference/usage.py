"""Use: how much, how often, how broadly, by how many, and against the account's own past."""

import math
from collections.abc import Sequence

import numpy as np

from features.catalogue.usage import CANCELLATION_PAGES, slug
from reference.arithmetic import Found, against, among, distinct, largest, log_ratio, share, smallest, total, within
from reference.known import Rows

NEEDS = {"value_30d": ("value",), "value_per_mrr_30d": ("value",), "value_per_mrr_90d": ("value",)}
READ_DAYS = 365


class Use:
    """One account's events of the last year, in windows of days before T."""

    def __init__(self, rows: Rows, has: frozenset[str]) -> None:
        self.has = has
        read = within(rows.occurred_ago, READ_DAYS)
        self.ago, self.feature, self.user = rows.occurred_ago[read], rows.feature[read], rows.user_id[read]
        self.users_of_day, self.value = rows.users[read], rows.value[read]
        self.quantity = np.where(np.isnan(rows.quantity[read]), 1, rows.quantity[read])
        #: Day 0 is the last 24 hours before T.
        self.active_days = {math.ceil(ago) - 1 for ago in self.ago}

    def events(self, length: int, skip: int = 0) -> float:
        """Events in a window."""
        return total(self.quantity[within(self.ago, length, skip)])

    def events_of(self, names: Sequence[str], length: int) -> float:
        """Events of some features in a window."""
        return total(self.quantity[within(self.ago, length) & among(self.feature, names)])

    def users(self, length: int, skip: int = 0) -> float:
        """Distinct users, and no fewer than a daily sum says; NaN where the source has neither."""
        inside = within(self.ago, length, skip)
        if not self.has & {"user_id", "users"}:
            return math.nan
        return max(distinct(self.user[inside]), largest(self.users_of_day[inside], 0))

    def features(self, length: int, skip: int = 0) -> int:
        """Distinct features in a window."""
        return distinct(self.feature[within(self.ago, length, skip)])

    def days(self, length: int, skip: int = 0) -> int:
        """Active days in a window."""
        return len(self.active_days & set(range(skip, skip + length)))

    def values(self, length: int) -> float:
        """Value handled in a window."""
        return total(self.value[within(self.ago, length)])


def features(rows: Rows, has: frozenset[str], contract: Found, product_features: Sequence[str]) -> Found:
    """Return the features of use; `contract` holds those of the subscriptions, `has` the columns that the source has."""
    use = Use(rows, has)
    tenure, mrr, seats = contract["tenure_days"], contract["mrr"], contract["seats"]
    pages = {
        length: use.events_of([n for n in set(use.feature) if n.lower() in CANCELLATION_PAGES], length) for length in (30, 90)
    }
    return {
        **{f"active_days_{length}d": use.days(length) for length in (7, 30, 90)},
        **{f"events_{length}d": use.events(length) for length in (7, 30, 90)},
        **{f"active_users_{length}d": use.users(length) for length in (7, 30, 90)},
        "active_weeks_90d": sum(use.days(7, 7 * week) > 0 for week in range(13)),
        "active_days_share_365d": share(use.days(365), min(365, math.ceil(largest(np.append(use.ago, tenure), 0)))),
        "longest_silence_90d": longest_silence(use, tenure),
        "features_used_30d": use.features(30),
        "features_used_90d": use.features(90),
        "seat_use_30d": share(use.users(30), seats),
        "events_per_seat_30d": share(use.events(30), seats),
        "events_per_seat_90d": share(use.events(90), seats),
        "events_per_mrr_30d": share(use.events(30), mrr),
        "events_per_mrr_90d": share(use.events(90), mrr),
        "value_30d": use.values(30),
        "value_per_mrr_30d": share(use.values(30), mrr),
        "value_per_mrr_90d": share(use.values(90), mrr),
        "events_trend_7d": against(use.events(7), 7, use.events(23, 7), 23, tenure),
        "events_trend_30d_of_210d": against(use.events(30), 30, use.events(180, 30), 180, tenure),
        "events_trend_90d_of_365d": against(use.events(90), 90, use.events(275, 90), 275, tenure),
        "events_trend_30d": log_ratio(use.events(30), use.events(30, 30)),
        "events_trend_90d": log_ratio(use.events(90), use.events(90, 90)),
        "active_days_trend_30d": log_ratio(use.days(30), use.days(30, 30)),
        "active_users_trend_30d": log_ratio(use.users(30), use.users(30, 30)),
        "active_users_trend_90d": log_ratio(use.users(90), use.users(90, 90)),
        "features_trend_30d": log_ratio(use.features(30), use.features(30, 30)),
        **by_month(use),
        "days_to_first_use": max(tenure - largest(use.ago, 0), 0) if tenure <= READ_DAYS else math.nan,
        "days_since_last_use": min(smallest(use.ago, 180), 180),
        **{f"cancellation_page_visits_{length}d": visits for length, visits in pages.items()},
        **of_product_features(use, mrr, product_features),
    }


def longest_silence(use: Use, tenure: float) -> int:
    """The longest run of days without use of the last 90, or since the account began."""
    longest = run = 0
    for day in range(90 if math.isnan(tenure) else min(90, math.ceil(tenure))):
        run = 0 if day in use.active_days else run + 1
        longest = max(longest, run)
    return longest


def by_month(use: Use) -> Found:
    """The last 30 days against the best 30 days of the rest of the year, and how long use has been clearly below it."""
    months = [use.events(30, 30 * month) for month in range(12)]
    best = max(months[1:])
    low = [events < 0.6 * best for events in months]
    return {
        "events_30d_of_best_month": share(months[0], best),
        "low_use_months": ([*low, False].index(False) if best else math.nan),
    }


def of_product_features(use: Use, mrr: float, names: Sequence[str]) -> Found:
    """Uses of the product's own features; names that make the same column are numbered."""
    found: Found = {}
    for name in names:
        column, number = f"use_of_{slug(name)}", 1
        while f"{column}_90d" in found:
            number += 1
            column = f"use_of_{slug(name)}_{number}"
        events = use.events_of([name], 90)
        found |= {f"{column}_90d": events, f"{column}_per_mrr_90d": share(events, mrr)}
    return found
