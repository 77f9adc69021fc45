"""Money beside the contract: payment of invoices, offers and what became of them, the cost of service."""

import numpy as np

from reference.arithmetic import Found, largest, mean, share, smallest, total, within
from reference.known import Rows

_DECIDED = ("decided_at", "status")
INVOICES = (
    "unpaid_invoices",
    "unpaid_over_14_days",
    "overdue_over_30_days",
    "overdue_over_60_days",
    "overdue_days_max",
    "days_since_payment",
    "overdue_share_of_mrr",
    "paid_late_share_365d",
    "late_days_mean_365d",
    "late_days_change_90d",
)
NEEDS = {
    **dict.fromkeys(INVOICES, ("paid_at",)),
    "offers_open": ("decided_at",),
    "offers_won_365d": _DECIDED,
    "offers_lost_365d": _DECIDED,
    "offers_won_share_365d": _DECIDED,
    "days_since_offer_decided": ("decided_at",),
    "service_hours_30d": ("account_id", "hours"),
    "service_hours_90d": ("account_id", "hours"),
    "service_hours_365d": ("account_id", "hours"),
    "service_cost_share_90d": ("account_id",),
}


def invoices(rows: Rows, mrr: float) -> Found:
    """Return the features of invoices; a credit note, of zero or less, is never paid."""
    unpaid = np.isnan(rows.paid_ago) & (rows.amount > 0)
    overdue = unpaid & (rows.due_ago > 0)
    late_days = np.fmax(rows.due_ago - rows.paid_ago, 0)

    def late(length: int) -> float:
        return mean(late_days[within(rows.paid_ago, length)])

    return {
        "unpaid_invoices": unpaid.sum(),
        "unpaid_over_14_days": (unpaid & (rows.issued_ago > 14)).sum(),
        "overdue_over_30_days": (unpaid & (rows.due_ago > 30)).sum(),
        "overdue_over_60_days": (unpaid & (rows.due_ago > 60)).sum(),
        "overdue_days_max": largest(rows.due_ago[overdue], 0),
        "days_since_payment": smallest(rows.paid_ago),
        "overdue_share_of_mrr": share(total(rows.money[overdue]), mrr),
        "paid_late_share_365d": mean((late_days > 0)[within(rows.paid_ago, 365)]),
        "late_days_mean_365d": late(365),
        "late_days_change_90d": late(90) - late(365),
    }


def offers(rows: Rows) -> Found:
    """Return the features of offers."""
    won, lost = ((within(rows.decided_ago, 365) & (rows.status == status)).sum() for status in ("won", "lost"))
    return {
        "offers_open": np.isnan(rows.decided_ago).sum(),
        "offers_won_365d": won,
        "offers_lost_365d": lost,
        "offers_won_share_365d": share(won, won + lost),
        "days_since_offer_decided": smallest(rows.decided_ago),
    }


def costs(rows: Rows, mrr: float) -> Found:
    """Return the features of what service takes."""
    service = rows.kind == "service"
    return {
        **{
            f"service_hours_{length}d": total(rows.hours[service & within(rows.incurred_ago, length)]) for length in (30, 90, 365)
        },
        "service_cost_share_90d": share(total(rows.amount[service & within(rows.incurred_ago, 90)]), 3 * mrr),
    }
