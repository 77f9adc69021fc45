"""Features of money beside the contract: payment of invoices, offers and what became of them, the cost of service."""

from collections.abc import Callable
from typing import Any

from features.catalogue.declare import DAY, Count, Feature, as_float, days, fell_within, ratio, within

_PAID = ("paid_at",)
_DECIDED = ("decided_at", "status")


def _unpaid(rows: Any) -> Any:
    """Credit notes, of zero or less, are never paid."""
    return rows.paid_at.isnull() & (rows.amount > 0)


def _overdue(rows: Any, length: int = 0) -> Any:
    return _unpaid(rows) & (rows.due_at < rows.as_of - length * DAY)


def _late(rows: Any, length: int) -> Any:
    return fell_within(rows, "paid_at", length) & (rows.paid_at > rows.due_at)


def _payment_counts(length: int) -> list[Count]:
    return [
        Count(f"invoices_paid_{length}d", "invoices", lambda v: v.count(where=fell_within(v, "paid_at", length)), _PAID),
        Count(f"late_time_{length}d", "invoices", lambda v: (v.paid_at - v.due_at).sum(where=_late(v, length)), _PAID),
    ]


def _decided(status: str) -> Count:
    return Count(
        f"offers_{status}_365d", "offers",
        lambda v: v.count(where=(v.status == status) & fell_within(v, "decided_at", 365)), _DECIDED,
    )  # fmt: skip


def _service(rows: Any, length: int) -> Any:
    return (rows.kind == "service") & within(rows, length)


def _hours(length: int) -> Count:
    return Count(f"service_hours_{length}d", "costs", lambda v: v.hours.sum(where=_service(v, length)), ("account_id", "hours"))


COUNTS = [
    Count("invoices_unpaid", "invoices", lambda v: v.count(where=_unpaid(v)), _PAID),
    Count("invoices_unpaid_over_14d", "invoices", lambda v: v.count(where=_unpaid(v) & (v.age > 14 * DAY)), _PAID),
    Count("invoices_overdue_over_30d", "invoices", lambda v: v.count(where=_overdue(v, 30)), _PAID),
    Count("invoices_overdue_over_60d", "invoices", lambda v: v.count(where=_overdue(v, 60)), _PAID),
    Count("overdue_age", "invoices", lambda v: (v.as_of - v.due_at).max(where=_overdue(v)), _PAID),
    Count("overdue_amount", "invoices", lambda v: v.reported.sum(where=_overdue(v)), _PAID),
    Count("invoice_paid_at", "invoices", lambda v: v.paid_at.max(), _PAID, empty=None),
    *_payment_counts(90),
    *_payment_counts(365),
    Count("invoices_late_365d", "invoices", lambda v: v.count(where=_late(v, 365)), _PAID),
    Count("offers_open", "offers", lambda v: v.count(where=v.decided_at.isnull()), ("decided_at",)),
    _decided("won"),
    _decided("lost"),
    Count("offer_decided_at", "offers", lambda v: v.decided_at.max(), ("decided_at",), empty=None),
    _hours(30),
    _hours(90),
    _hours(365),
    Count("service_cost_90d", "costs", lambda v: v.amount.sum(where=_service(v, 90)), ("account_id",)),
]


def _payment(
    name: str, unit: str, window: int | None, en: str, fi: str, expr: Callable[[Any], Any], *, direction: int = 1
) -> Feature:
    return Feature(name, unit, "invoices", window, "payment_trouble", direction, {"en": en, "fi": fi}, expr)  # type: ignore[arg-type]


def _offer(name: str, unit: str, window: int | None, en: str, fi: str, expr: Callable[[Any], Any]) -> Feature:
    return Feature(name, unit, "offers", window, "growth", 0, {"en": en, "fi": fi}, expr)


def _cost(name: str, unit: str, window: int | None, en: str, fi: str, expr: Callable[[Any], Any]) -> Feature:
    """What our own people do carries no direction (domain.md §4)."""
    return Feature(name, unit, "costs", window, "tenure_and_profile", 0, {"en": en, "fi": fi}, expr)


FEATURES = [
    _payment("unpaid_invoices", "invoices", None, "unpaid invoices", "maksamatonta laskua", as_float("invoices_unpaid")),
    _payment("unpaid_over_14_days", "invoices", None, "invoices unpaid for more than 14 days",
             "yli 14 päivää maksamatta ollutta laskua", as_float("invoices_unpaid_over_14d")),
    _payment("overdue_over_30_days", "invoices", None, "invoices overdue by more than 30 days",
             "yli 30 päivää erääntynyttä laskua", as_float("invoices_overdue_over_30d")),
    _payment("overdue_over_60_days", "invoices", None, "invoices overdue by more than 60 days",
             "yli 60 päivää erääntynyttä laskua", as_float("invoices_overdue_over_60d")),
    _payment("overdue_days_max", "days", None, "days that the oldest unpaid invoice is overdue",
             "päivää vanhimman laskun eräpäivästä", lambda c: days(c.overdue_age)),
    _payment("days_since_payment", "days", None, "days since an invoice was last paid", "päivää edellisestä maksetusta laskusta",
             lambda c: days(c.as_of - c.invoice_paid_at), direction=0),
    _payment("overdue_share_of_mrr", "months", None, "months of revenue overdue",
             "kuukauden laskutus erääntyneenä", lambda c: ratio(c.overdue_amount, c.mrr_running)),
    _payment("paid_late_share_365d", "share", 365, "share of invoices paid late in a year",
             "laskuista maksettu myöhässä vuodessa", lambda c: ratio(c.invoices_late_365d, c.invoices_paid_365d)),
    _payment("late_days_mean_365d", "days", 365, "days late per paid invoice in a year",
             "päivää myöhässä maksettua laskua kohden vuodessa",
             lambda c: ratio(days(c.late_time_365d), c.invoices_paid_365d)),
    _payment("late_days_change_90d", "days", 365, "days late per paid invoice, the last 90 days against the year",
             "päivää myöhässä maksettua laskua kohden, viimeiset 90 päivää vuoteen verrattuna",
             lambda c: ratio(days(c.late_time_90d), c.invoices_paid_90d) - ratio(days(c.late_time_365d), c.invoices_paid_365d)),
    _offer("offers_open", "offers", None, "open offers", "avointa tarjousta", as_float("offers_open")),
    _offer("offers_won_365d", "offers", 365, "offers accepted in a year", "hyväksyttyä tarjousta vuodessa",
           as_float("offers_won_365d")),
    _offer("offers_lost_365d", "offers", 365, "offers declined in a year", "hylättyä tarjousta vuodessa",
           as_float("offers_lost_365d")),
    _offer("offers_won_share_365d", "share", 365, "share of the year's decided offers that were accepted",
           "vuoden ratkaistuista tarjouksista hyväksytty",
           lambda c: ratio(c.offers_won_365d, c.offers_won_365d + c.offers_lost_365d)),
    _offer("days_since_offer_decided", "days", None, "days since an offer was last decided",
           "päivää edellisestä tarjouspäätöksestä", lambda c: days(c.as_of - c.offer_decided_at)),
    _cost("service_hours_30d", "hours", 30, "hours of service in 30 days", "palvelutuntia 30 päivässä",
          as_float("service_hours_30d")),
    _cost("service_hours_90d", "hours", 90, "hours of service in 90 days", "palvelutuntia 90 päivässä",
          as_float("service_hours_90d")),
    _cost("service_hours_365d", "hours", 365, "hours of service in a year", "palvelutuntia vuodessa",
          as_float("service_hours_365d")),
    _cost("service_cost_share_90d", "share", 90, "cost of service in 90 days as a share of the revenue",
          "palvelun kustannus 90 päivässä osuutena laskutuksesta",
          lambda c: ratio(c.service_cost_90d, c.mrr_running * 3)),
]  # fmt: skip
