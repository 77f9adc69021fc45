"""Features of what an account pays for: money, seats, terms, renewal (domain.md §2 "Active, MRR")."""

from typing import Any

import ibis

from features.catalogue.declare import DAY, Count, Feature, as_float, days, ratio, within
from features.contract import DECIMAL_TYPE

SOURCE = "subscriptions"
#: A rise of the price per seat that is more than a yearly indexation.
CLEAR_RISE = 0.05
_PRICED = ("mrr", "seats", "subscription_id")


def _running(rows: Any, days_ago: int = 0) -> Any:
    """Rows that ran just before T − days_ago; `ended_at` is masked at T, so a null means running."""
    if not days_ago:
        return rows.ended_at.isnull()
    then = rows.as_of - days_ago * DAY
    return (rows.started_at < then) & (rows.ended_at.isnull() | (rows.ended_at >= then))


def _mrr(rows: Any, days_ago: int = 0) -> Any:
    """MRR in the reporting currency, rounded once for each account."""
    return rows.reported.sum(where=_running(rows, days_ago)).cast(DECIMAL_TYPE)


def _renewing(rows: Any) -> Any:
    return _running(rows) & (rows.renewal_at >= rows.as_of)


def _renewed(rows: Any) -> Any:
    """Rows that ran up to their renewal date, or past it."""
    return (rows.renewal_at < rows.as_of) & (rows.ended_at.isnull() | (rows.ended_at >= rows.renewal_at))


def derived_subscriptions(rows: Any) -> Any:
    """Add `rise`: the change of the price per seat against the row of the same subscription and product before it."""
    price = ratio(rows.reported, rows.seats)
    key = [rows.spine_id, rows.subscription_id, rows["product"]]
    before = price.lag().over(group_by=key, order_by=[rows.started_at, rows.reported, rows.seats])
    return rows.mutate(rise=ibis.ifelse(rows.subscription_id.notnull(), ratio(price, before) - 1.0, None))


def _ago(days_ago: int) -> list[Count]:
    return [
        Count(f"mrr_{days_ago}d_ago", SOURCE, lambda v: _mrr(v, days_ago), ("mrr",)),
        Count(f"seats_{days_ago}d_ago", SOURCE, lambda v: v.seats.sum(where=_running(v, days_ago)), ("seats",)),
    ]


COUNTS = [
    Count("rows_running", SOURCE, lambda v: v.count(where=_running(v))),
    Count("rows_noticed", SOURCE, lambda v: v.count(where=_running(v) & v.cancelled_at.notnull())),
    Count("mrr_running", SOURCE, _mrr, ("mrr",)),
    Count("seats_running", SOURCE, lambda v: v.seats.sum(where=_running(v)), ("seats",), empty=None),
    Count("products_running", SOURCE, lambda v: v["product"].nunique(where=_running(v)), ("product",)),
    Count("rise_max_180d", SOURCE, lambda v: ibis.greatest(v.rise, 0.0).max(where=within(v, 180)), _PRICED),
    Count("rise_max_365d", SOURCE, lambda v: ibis.greatest(v.rise, 0.0).max(where=within(v, 365)), _PRICED),
    Count("risen_at", SOURCE, lambda v: v.started_at.max(where=v.rise >= CLEAR_RISE), _PRICED, empty=None),
    Count("renewals_passed", SOURCE, lambda v: v.renewal_at.nunique(where=_renewed(v)), ("renewal_at",)),
    Count("rows_begun", SOURCE, lambda v: v.count()),
    Count("first_started_at", SOURCE, lambda v: v.started_at.min(), empty=None),
    Count("terms_started_at", SOURCE, lambda v: v.started_at.max(where=_running(v)), empty=None),
    Count("term_months_running", SOURCE, lambda v: v.term_months.max(where=_running(v)), ("term_months",), empty=None),
    Count("renewal_at", SOURCE, lambda v: v.renewal_at.min(where=_renewing(v)), ("renewal_at",), empty=None),
    Count(
        "notice_by",
        SOURCE,
        lambda v: (v.renewal_at - v.notice_days.fill_null(0) * DAY).min(where=_renewing(v)),
        ("renewal_at",),
        empty=None,
    ),
    Count(
        "auto_renewing",
        SOURCE,
        lambda v: v.auto_renew.cast("int64").max(where=_running(v)),
        ("auto_renew",),
        empty=None,
    ),
    *_ago(90),
    *_ago(365),
]


def _change(now: Any, before: Any) -> Any:
    return ratio(now, before) - 1.0


FEATURES = [
    Feature(
        "tenure_days", "days", SOURCE, None, "tenure_and_profile", 0,
        {"en": "days as a customer", "fi": "päivää asiakkaana"},
        lambda c: days(c.as_of - c.first_started_at),
    ),
    Feature(
        "mrr", "money a month", SOURCE, None, "tenure_and_profile", 0,
        {"en": "monthly recurring revenue", "fi": "kuukausilaskutus"}, as_float("mrr_running"),
    ),
    Feature(
        "seats", "seats", SOURCE, None, "tenure_and_profile", 0,
        {"en": "seats paid for", "fi": "maksettuja käyttäjäpaikkoja"}, as_float("seats_running"),
    ),
    Feature(
        "products", "products", SOURCE, None, "tenure_and_profile", -1,
        {"en": "products in use", "fi": "käytössä olevia tuotteita"}, as_float("products_running"),
    ),
    Feature(
        "term_months", "months", SOURCE, None, "tenure_and_profile", 0,
        {"en": "months of contract term", "fi": "kuukautta sopimuskautta"}, as_float("term_months_running"),
    ),
    Feature(
        "periods_so_far", "rows", SOURCE, None, "tenure_and_profile", 0,
        {"en": "contract periods so far", "fi": "sopimuskautta tähän mennessä"}, as_float("rows_begun"),
    ),
    Feature(
        "renewals_passed", "renewals", SOURCE, None, "tenure_and_profile", 0,
        {"en": "renewals passed so far", "fi": "ohitettua uusimista tähän mennessä"}, as_float("renewals_passed"),
    ),
    Feature(
        "days_since_terms_changed", "days", SOURCE, None, "tenure_and_profile", 0,
        {"en": "days since the terms last changed", "fi": "päivää ehtojen edellisestä muutoksesta"},
        lambda c: days(c.as_of - c.terms_started_at),
    ),
    Feature(
        "mrr_per_seat", "money a month", SOURCE, None, "price_pressure", 0,
        {"en": "price per seat", "fi": "hinta käyttäjäpaikkaa kohden"}, lambda c: ratio(c.mrr_running, c.seats_running),
        peers=True,
    ),
    Feature(
        "price_change_365d", "share", SOURCE, 365, "price_pressure", 1,
        {"en": "change of the price per seat in a year", "fi": "muutos käyttäjäpaikan hinnassa vuodessa"},
        lambda c: ratio(c.mrr_running, c.seats_running) / ratio(c.mrr_365d_ago, c.seats_365d_ago).nullif(0.0) - 1.0,
    ),
    Feature(
        "price_change_90d", "share", SOURCE, 90, "price_pressure", 1,
        {"en": "change of the price per seat in 90 days", "fi": "muutos käyttäjäpaikan hinnassa 90 päivässä"},
        lambda c: ratio(c.mrr_running, c.seats_running) / ratio(c.mrr_90d_ago, c.seats_90d_ago).nullif(0.0) - 1.0,
    ),
    Feature(
        "price_rise_max_180d", "share", SOURCE, 180, "price_pressure", 1,
        {"en": "largest rise of the price per seat in 180 days", "fi": "suurin korotus käyttäjäpaikan hintaan 180 päivässä"},
        as_float("rise_max_180d"),
    ),
    Feature(
        "price_rise_max_365d", "share", SOURCE, 365, "price_pressure", 1,
        {"en": "largest rise of the price per seat in a year", "fi": "suurin korotus käyttäjäpaikan hintaan vuodessa"},
        as_float("rise_max_365d"),
    ),
    Feature(
        "days_since_price_rise", "days", SOURCE, None, "price_pressure", 0,
        {"en": "days since the price per seat last rose by 5 % or more",
         "fi": "päivää siitä, kun käyttäjäpaikan hinta viimeksi nousi vähintään 5 %"},
        lambda c: days(c.as_of - c.risen_at),
    ),
    Feature(
        "mrr_change_90d", "share", SOURCE, 90, "growth", 0,
        {"en": "change of revenue in 90 days", "fi": "laskutuksen muutos 90 päivässä"},
        lambda c: _change(c.mrr_running, c.mrr_90d_ago),
    ),
    Feature(
        "mrr_change_365d", "share", SOURCE, 365, "growth", 0,
        {"en": "change of revenue in a year", "fi": "laskutuksen muutos vuodessa"},
        lambda c: _change(c.mrr_running, c.mrr_365d_ago),
    ),
    Feature(
        "seats_change_90d", "share", SOURCE, 90, "growth", 0,
        {"en": "change of seats in 90 days", "fi": "käyttäjäpaikkojen muutos 90 päivässä"},
        lambda c: _change(c.seats_running, c.seats_90d_ago),
    ),
    Feature(
        "seats_change_365d", "share", SOURCE, 365, "growth", 0,
        {"en": "change of seats in a year", "fi": "käyttäjäpaikkojen muutos vuodessa"},
        lambda c: _change(c.seats_running, c.seats_365d_ago),
    ),
    Feature(
        "days_to_renewal", "days", SOURCE, None, "renewal_near", 0,
        {"en": "days to the next renewal", "fi": "päivää seuraavaan uusimiseen"},
        lambda c: days(c.renewal_at - c.as_of),
    ),
    Feature(
        "days_to_notice_deadline", "days", SOURCE, None, "renewal_near", 0,
        {"en": "days to the notice deadline", "fi": "päivää irtisanomisen takarajaan"},
        lambda c: days(c.notice_by - c.as_of),
    ),
    Feature(
        "notice_deadline_within_90d", "0/1", SOURCE, None, "renewal_near", 0,
        {"en": "notice deadline in the coming 90 days", "fi": "irtisanomisen takaraja seuraavien 90 päivän aikana"},
        lambda c: c.notice_by.between(c.as_of, c.as_of + 90 * DAY).cast("int64"),
    ),
    Feature(
        "auto_renew", "0/1", SOURCE, None, "renewal_near", -1,
        {"en": "automatic renewal", "fi": "automaattinen uusiminen"}, as_float("auto_renewing"),
    ),
]  # fmt: skip
