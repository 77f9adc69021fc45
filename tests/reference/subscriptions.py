"""What an account pays for: money, seats, terms, renewal (domain.md §2 "Active, MRR")."""

import math
from itertools import pairwise

import numpy as np

from reference.arithmetic import Found, distinct, largest, share, smallest, total
from reference.known import Rows

NEEDS = {
    "mrr": ("mrr",),
    "seats": ("seats",),
    "products": ("product",),
    "term_months": ("term_months",),
    "renewals_passed": ("renewal_at",),
    "mrr_per_seat": ("mrr", "seats"),
    "price_change_90d": ("mrr", "seats"),
    "price_change_365d": ("mrr", "seats"),
    "price_rise_max_180d": ("mrr", "seats", "subscription_id"),
    "price_rise_max_365d": ("mrr", "seats", "subscription_id"),
    "days_since_price_rise": ("mrr", "seats", "subscription_id"),
    "mrr_change_90d": ("mrr",),
    "mrr_change_365d": ("mrr",),
    "seats_change_90d": ("seats",),
    "seats_change_365d": ("seats",),
    "days_to_renewal": ("renewal_at",),
    "days_to_notice_deadline": ("renewal_at",),
    "notice_deadline_within_90d": ("renewal_at",),
    "auto_renew": ("auto_renew",),
}


def running(rows: Rows, days_ago: int = 0) -> np.ndarray:
    """Rows that ran just before T − days_ago."""
    return (rows.started_ago > days_ago) & (np.isnan(rows.ended_ago) | (rows.ended_ago <= days_ago))


def price_rises(rows: Rows) -> list[tuple[float, float]]:
    """(days ago, rise of the price per seat) of each row against the one before it of its subscription and product."""
    lines: dict[tuple[str, str | None], list[tuple[float, float]]] = {}
    for subscription, product, started, money, seats in zip(
        rows.subscription_id, rows.product, rows.started_ago, rows.money, rows.seats, strict=True
    ):
        if subscription is not None:
            lines.setdefault((subscription, product), []).append((-started, share(money, seats)))
    changes = [
        (-later[0], share(later[1], earlier[1]) - 1)
        for line in lines.values()
        for earlier, later in pairwise(sorted(line, key=lambda row: row[0]))
    ]
    return [(started, rise) for started, rise in changes if not math.isnan(rise)]


def features(rows: Rows) -> Found:
    """Return the features of subscriptions."""
    now, quarter, year = running(rows), running(rows, 90), running(rows, 365)
    mrr, mrr_90d, mrr_365d = (round(total(rows.money[ran]), 6) for ran in (now, quarter, year))
    seats_90d, seats_365d = (total(rows.seats[ran]) for ran in (quarter, year))
    seats = total(rows.seats[now]) if not np.isnan(rows.seats[now]).all() else math.nan
    rises = price_rises(rows)
    ran_up_to_renewal = np.isnan(rows.ended_ago) | (rows.ended_ago <= rows.renewal_ago)
    to_renewal, to_notice = ahead(rows)
    return {
        "tenure_days": largest(rows.started_ago),
        "mrr": mrr,
        "seats": seats,
        "products": distinct(rows.product[now]),
        "term_months": largest(rows.term_months[now]),
        "periods_so_far": rows.count,
        "renewals_passed": len(set(rows.renewal_ago[(rows.renewal_ago > 0) & ran_up_to_renewal])),
        "days_since_terms_changed": smallest(rows.started_ago[now]),
        "mrr_per_seat": share(mrr, seats),
        "price_change_365d": share(share(mrr, seats), share(mrr_365d, seats_365d)) - 1,
        "price_change_90d": share(share(mrr, seats), share(mrr_90d, seats_90d)) - 1,
        "price_rise_max_180d": max([0.0, *(rise for started, rise in rises if started <= 180)]),
        "price_rise_max_365d": max([0.0, *(rise for started, rise in rises if started <= 365)]),
        "days_since_price_rise": min([started for started, rise in rises if rise >= 0.05], default=math.nan),
        "mrr_change_90d": share(mrr, mrr_90d) - 1,
        "mrr_change_365d": share(mrr, mrr_365d) - 1,
        "seats_change_90d": share(seats, seats_90d) - 1,
        "seats_change_365d": share(seats, seats_365d) - 1,
        "days_to_renewal": to_renewal,
        "days_to_notice_deadline": to_notice,
        "notice_deadline_within_90d": math.nan if math.isnan(to_notice) else float(0 <= to_notice <= 90),
        "auto_renew": largest(rows.auto_renew[now]),
    }


def ahead(rows: Rows) -> tuple[float, float]:
    """Days to the next renewal of a running row, and to the first notice deadline of those (NaN: none is ahead)."""
    coming = running(rows) & (rows.renewal_ago <= 0)
    notice = -rows.renewal_ago - np.nan_to_num(rows.notice_days)
    return smallest(-rows.renewal_ago[coming]), smallest(notice[coming])


def facts(rows: Rows, *, priced: bool) -> dict[str, float | str | None]:
    """Return what decides who is scored; without prices each running row counts one."""
    now = running(rows)
    weight = rows.money[now] if priced else np.ones(now.sum())
    active = total(weight) > 0
    names = zip(rows.product[now], rows.plan[now], weight, strict=True)
    # The largest, of equal ones the first by name; no amount, no name: last.
    ordered = sorted(names, key=lambda row: (-np.nan_to_num(row[2], nan=-1), *((name is None, name or "") for name in row[:2])))
    product, plan = ordered[0][:2] if ordered else (None, None)
    return {"active": active, "leaving": active and bool((rows.cancelled_ago[now] > 0).all()), "product": product, "plan": plan}
