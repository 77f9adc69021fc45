"""Features of use: how much, how often, how broadly, by how many, and the trend against the account's own past."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import ibis

from features.catalogue.declare import DAY, Count, Feature, as_float, days, log_ratio, ratio, trend, within

SOURCE = "usage"
#: Days whose activity one signed 64-bit integer keeps, with a bit to spare; six blocks hold a year.
BLOCK_DAYS, _BLOCKS = 62, 6
#: Spans of 30 days in a year.
_MONTHS = 12
#: A month below this share of the best one is a low one: holidays alone take about half.
_LOW_SHARE = 0.6
#: Use before this many days is not read.
REACH_DAYS = 365
#: Windows by name: how many days, and how many lie between its end and T.
WINDOWS = {"7d": (7, 0), "30d": (30, 0), "90d": (90, 0), "30d_before": (30, 30), "90d_before": (90, 90)}
#: Windows that value is added up in.
VALUE_DAYS = (30, 90)
_LONGER = {"180d_before": (180, 30), "275d_before": (275, 90)} | {f"month_{m}": (30, 30 * m) for m in range(1, _MONTHS)}
#: Windows of the features that are counted by name: visits to cancel, and the product's own most used ones.
_VISIT_DAYS, _NAMED_DAYS = (30, 90), 90
NAMED_EDGES = sorted({0, *_VISIT_DAYS, _NAMED_DAYS})
#: Days before T at which a window or a block of days begins or ends, ascending.
EDGES = sorted(
    {REACH_DAYS, *range(0, REACH_DAYS, BLOCK_DAYS)}.union(
        *({skip, skip + length} for length, skip in (*WINDOWS.values(), *_LONGER.values()))
    )
)
#: Days since the last use are no more than this.
_RECENCY_DAYS = 180
#: Names under which products log a visit to the page where one cancels.
CANCELLATION_PAGES = ("cancellation_page", "cancel_page", "cancel_subscription", "cancellation", "downgrade_page")


@ibis.udf.scalar.builtin(name="bit_count", signature=(("int64",), "int8"))  # type: ignore[untyped-decorator]
def bit_count(value: int) -> int:  # type: ignore[empty-body]
    """Return the number of set bits: the engines' own function, some of which answer in one byte."""


@ibis.udf.scalar.builtin(name="bin")  # type: ignore[untyped-decorator]
def _bits(value: int) -> str:  # type: ignore[empty-body]
    """Return the number in base two, without leading zeros: the engines' own function."""


def _active_days(counts: Any, first: int, length: int) -> Any:
    """Active days among the days first … first + length − 1 before T."""
    total: Any = ibis.literal(0, type="int64")
    for block in range(_BLOCKS):
        low = max(first - block * BLOCK_DAYS, 0)
        high = min(first + length - block * BLOCK_DAYS, BLOCK_DAYS)
        if low < high:
            total += bit_count((counts[f"day_mask_{block}"] >> low) & ((1 << (high - low)) - 1)).cast("int64")
    return total


def _active_share(counts: Any, length: int) -> Any:
    """Share of active days among the last `length`, or of those since the account began, or was first in use."""
    age = ibis.greatest(counts.as_of - counts.first_started_at, counts.first_use_age)
    return ratio(_active_days(counts, 0, length), ibis.least((age + DAY - 1) // DAY, length))


def _days_to_first_use(counts: Any) -> Any:
    """Days from the account's start to its first use, or so far; null where that may lie before what is read."""
    age, use_age = counts.as_of - counts.first_started_at, counts.first_use_age
    return days(ibis.cases((age > REACH_DAYS * DAY, None), (use_age >= age, 0), (use_age < age, age - use_age)))


def _active_weeks(counts: Any, weeks: int) -> Any:
    """Weeks, counted back from T, with at least one active day."""
    total: Any = ibis.literal(0, type="int64")
    for week in range(weeks):
        total += (_active_days(counts, 7 * week, 7) > 0).cast("int64")
    return total


def _longest_silence(counts: Any, length: int) -> Any:
    """Return the longest run of days without use among the last `length`, or since the account began."""
    calendar: Any = ""
    for block in range(-(-length // BLOCK_DAYS)):
        width = min(length - block * BLOCK_DAYS, BLOCK_DAYS)
        calendar = _bits(counts[f"day_mask_{block}"] & ((1 << width) - 1)).lpad(width, "0") + calendar
    age = ((counts.as_of - counts.first_started_at + DAY - 1) // DAY).fill_null(length)
    return calendar.right(ibis.least(age, length)).split("1").map(lambda silence: silence.length()).maxs()


def _best_month(counts: Any) -> Any:
    """The most events in 30 days of the year before the last 30 days; null: none of these days had use."""
    return ibis.greatest(*(counts[f"events_month_{month}"] for month in range(1, _MONTHS))).nullif(0)


def _low_months(counts: Any) -> Any:
    """How many spans of 30 days in a row, back from T, had clearly less use than the best one."""
    run, going = ibis.literal(0, type="int64"), ibis.literal(1, type="int64")
    enough = _LOW_SHARE * _best_month(counts).cast("float64")
    for month in range(_MONTHS):
        events = counts.events_30d if month == 0 else counts[f"events_month_{month}"]
        going *= (events.cast("float64") < enough).cast("int64")
        run += going
    return run.cast("float64")


def users(counts: Any, name: str) -> Any:
    """Users active in a window: the distinct ones that rows name, and no fewer than a daily sum says; null: neither is given."""
    named, daily = counts[f"users_distinct_{name}"], counts[f"users_peak_{name}"]
    return ibis.greatest(named.fill_null(daily), daily.fill_null(named)).cast("float64")


def _sum(name: str, length: int, skip: int = 0) -> Count:
    return Count(f"events_{name}", SOURCE, lambda v: v.total("quantity", length, skip), over="days")


def _window_counts(name: str, length: int, skip: int) -> list[Count]:
    return [
        _sum(name, length, skip),
        Count(f"users_distinct_{name}", SOURCE, lambda v: v.active(name), ("user_id",), over="users"),
        Count(f"users_peak_{name}", SOURCE, lambda v: v.most("users", length, skip), ("users",), over="days"),
    ]


def _breadth(name: str) -> Count:
    return Count(f"features_{name}", SOURCE, lambda v: v.active(name), over="features")


def _day_mask(block: int) -> Count:
    """Active days of a block of days as bits; bit 0 of block 0 is the last 24 hours before T."""
    return Count(f"day_mask_{block}", SOURCE, lambda v: v.active_days(block), over="days")


def _value(length: int) -> Count:
    return Count(f"value_{length}d", SOURCE, lambda v: v.total("value", length), ("value",), over="days")


def _cancellation_visits(length: int) -> Count:
    return Count(
        f"cancellation_visits_{length}d", SOURCE,
        lambda v: v.quantity.sum(where=within(v, length) & _of_cancelling(v)), over="by_feature",
    )  # fmt: skip


def _of_cancelling(rows: Any) -> Any:
    return rows.feature.lower().isin(CANCELLATION_PAGES)


def named(product_features: Sequence[str]) -> Callable[[Any], Any]:
    """Whether declarations read the use of this row's feature by its name."""
    return lambda rows: _of_cancelling(rows) | rows.feature.isin(product_features)


#: Windows whose users are counted, and those whose features are.
USERS_IN = WINDOWS
FEATURES_IN = {name: WINDOWS[name] for name in ("30d", "90d", "30d_before")}
#: How many days before T each relation of rolled-up use is read.
REACH_OF = {
    "days": REACH_DAYS,
    "by_feature": NAMED_EDGES[-1],
    "users": max(map(sum, USERS_IN.values())),
    "features": max(map(sum, FEATURES_IN.values())),
}

# Each is counted over rolled-up rows (features/rollup.py, features/windows.py), not over events.
COUNTS = [
    *(count for name, window in WINDOWS.items() for count in _window_counts(name, *window)),
    *(_sum(name, *window) for name, window in _LONGER.items()),
    *map(_breadth, FEATURES_IN),
    *map(_day_mask, range(_BLOCKS)),
    *map(_value, VALUE_DAYS),
    *map(_cancellation_visits, _VISIT_DAYS),
    Count("last_use_age", SOURCE, lambda v: v.last_age(), empty=_RECENCY_DAYS * DAY, over="days"),
    Count("first_use_age", SOURCE, lambda v: v.first_age(), over="days"),
]  # fmt: skip


def _usage(
    name: str,
    unit: str,
    window: int | None,
    driver: str,
    en: str,
    fi: str,
    expr: Callable[[Any], Any],
    *,
    direction: int = -1,
    peers: bool = False,
) -> Feature:
    return Feature(name, unit, SOURCE, window, driver, direction, {"en": en, "fi": fi}, expr, peers)  # type: ignore[arg-type]


def _levels(length: int) -> list[Feature]:
    span, jakso = f"in the last {length} days", f"viimeisten {length} päivän aikana"
    key = f"{length}d"
    return [
        _usage(
            f"active_days_{key}", "days", length, "low_adoption", f"active days {span}", f"aktiivista päivää {jakso}",
            lambda c: _active_days(c, 0, length).cast("float64"), peers=length != 90,
        ),
        _usage(
            f"events_{key}", "events", length, "low_adoption", f"actions {span}", f"toimintoa {jakso}",
            as_float(f"events_{key}"), peers=length != 90,
        ),
        _usage(
            f"active_users_{key}", "users", length, "low_adoption", f"active users {span}",
            f"aktiivista käyttäjää {jakso}", lambda c: users(c, key),
        ),
    ]  # fmt: skip


FEATURES = [
    *_levels(7),
    *_levels(30),
    *_levels(90),
    _usage(
        "active_weeks_90d", "weeks", 91, "low_adoption", "active weeks of the last 13",
        "aktiivista viikkoa viimeisistä 13:sta", lambda c: _active_weeks(c, 13).cast("float64"),
    ),
    _usage(
        "active_days_share_365d", "share", 365, "low_adoption", "share of active days in a year, or since the start",
        "päivistä aktiivisia vuodessa tai asiakkuuden alusta", lambda c: _active_share(c, 365),
    ),
    _usage(
        "longest_silence_90d", "days", 90, "low_adoption", "longest time without use in the last 90 days",
        "päivää pisin käyttötauko viimeisten 90 päivän aikana", lambda c: _longest_silence(c, 90), direction=1,
    ),
    _usage(
        "features_used_30d", "features", 30, "low_adoption", "features used in the last 30 days",
        "käytettyä toimintoa viimeisten 30 päivän aikana", as_float("features_30d"), peers=True,
    ),
    _usage(
        "features_used_90d", "features", 90, "low_adoption", "features used in the last 90 days",
        "käytettyä toimintoa viimeisten 90 päivän aikana", as_float("features_90d"),
    ),
    _usage(
        "seat_use_30d", "share", 30, "low_adoption", "share of seats in use in the last 30 days",
        "käyttäjäpaikoista käytössä viimeisten 30 päivän aikana", lambda c: ratio(users(c, "30d"), c.seats_running),
        peers=True,
    ),
    _usage(
        "events_per_seat_30d", "events a seat", 30, "low_adoption", "actions per seat in the last 30 days",
        "toimintoa käyttäjäpaikkaa kohden 30 päivässä", lambda c: ratio(c.events_30d, c.seats_running), peers=True,
    ),
    _usage(
        "events_per_seat_90d", "events a seat", 90, "low_adoption", "actions per seat in the last 90 days",
        "toimintoa käyttäjäpaikkaa kohden 90 päivässä", lambda c: ratio(c.events_90d, c.seats_running),
    ),
    _usage(
        "events_per_mrr_30d", "events per money", 30, "price_pressure", "actions per unit of price in 30 days",
        "toimintoa laskutettua euroa kohden 30 päivässä", lambda c: ratio(c.events_30d, c.mrr_running), peers=True,
    ),
    _usage(
        "events_per_mrr_90d", "events per money", 90, "price_pressure", "actions per unit of price in 90 days",
        "toimintoa laskutettua euroa kohden 90 päivässä", lambda c: ratio(c.events_90d, c.mrr_running),
    ),
    _usage(
        "value_30d", "value", 30, "value_unproven", "value handled in the last 30 days",
        "käsitelty arvo viimeisten 30 päivän aikana", as_float("value_30d"),
    ),
    _usage(
        "value_per_mrr_30d", "value per money", 30, "value_unproven", "value handled per unit of price in 30 days",
        "käsitelty arvo laskutettua euroa kohden 30 päivässä", lambda c: ratio(c.value_30d, c.mrr_running),
    ),
    _usage(
        "value_per_mrr_90d", "value per money", 90, "value_unproven", "value handled per unit of price in 90 days",
        "käsitelty arvo laskutettua euroa kohden 90 päivässä", lambda c: ratio(c.value_90d, c.mrr_running), peers=True,
    ),
    _usage(
        "events_trend_7d", "log ratio", 30, "usage_decline", "change of use, the last 7 days against the 23 before",
        "käytön muutos, viimeiset 7 päivää edellisiin 23:een",
        lambda c: trend(c, c.events_7d, 7, c.events_30d - c.events_7d, 23),
    ),
    _usage(
        "events_trend_30d_of_210d", "log ratio", 210, "usage_decline",
        "change of use, the last 30 days against the 180 before", "käytön muutos, viimeiset 30 päivää edellisiin 180:een",
        lambda c: trend(c, c.events_30d, 30, c.events_180d_before, 180),
    ),
    _usage(
        "events_trend_90d_of_365d", "log ratio", 365, "usage_decline",
        "change of use, the last 90 days against the rest of the year", "käytön muutos, viimeiset 90 päivää muuhun vuoteen",
        lambda c: trend(c, c.events_90d, 90, c.events_275d_before, 275),
    ),
    _usage(
        "events_trend_30d", "log ratio", 60, "usage_decline", "change of use, the last 30 days against the 30 before",
        "käytön muutos, viimeiset 30 päivää edellisiin 30:een", lambda c: log_ratio(c.events_30d, c.events_30d_before),
    ),
    _usage(
        "events_trend_90d", "log ratio", 180, "usage_decline", "change of use, the last 90 days against the 90 before",
        "käytön muutos, viimeiset 90 päivää edellisiin 90:een", lambda c: log_ratio(c.events_90d, c.events_90d_before),
    ),
    _usage(
        "active_days_trend_30d", "log ratio", 60, "usage_decline", "change of active days against the 30 days before",
        "aktiivisten päivien muutos edellisiin 30 päivään",
        lambda c: log_ratio(_active_days(c, 0, 30), _active_days(c, 30, 30)),
    ),
    _usage(
        "active_users_trend_30d", "log ratio", 60, "usage_decline", "change of active users against the 30 days before",
        "aktiivisten käyttäjien muutos edellisiin 30 päivään",
        lambda c: log_ratio(users(c, "30d"), users(c, "30d_before")),
    ),
    _usage(
        "active_users_trend_90d", "log ratio", 180, "usage_decline", "change of active users against the 90 days before",
        "aktiivisten käyttäjien muutos edellisiin 90 päivään",
        lambda c: log_ratio(users(c, "90d"), users(c, "90d_before")),
    ),
    _usage(
        "features_trend_30d", "log ratio", 60, "usage_decline", "change of features used against the 30 days before",
        "käytettyjen toimintojen muutos edellisiin 30 päivään",
        lambda c: log_ratio(c.features_30d, c.features_30d_before),
    ),
    _usage(
        "events_30d_of_best_month", "share", 365, "usage_decline", "use of the last 30 days as a share of the best month's",
        "viimeisten 30 päivän käyttö osuutena parhaan kuukauden käytöstä",
        lambda c: ratio(c.events_30d, _best_month(c)), peers=True,
    ),
    _usage(
        "low_use_months", "months", 365, "usage_decline", "months in a row with much less use than in the best one",
        "kuukautta peräkkäin selvästi parasta kuukautta vähemmällä käytöllä", _low_months, direction=0,
    ),
    _usage(
        "days_to_first_use", "days", 365, "onboarding_stalled", "days from the start to the first use",
        "päivää alusta ensimmäiseen käyttöön", _days_to_first_use, direction=1,
    ),
    _usage(
        "days_since_last_use", "days", None, "usage_decline", "days since the last use", "päivää viimeisestä käytöstä",
        lambda c: days(ibis.least(c.last_use_age, _RECENCY_DAYS * DAY)), direction=1,
    ),
    _usage(
        "cancellation_page_visits_30d", "visits", 30, "usage_decline", "visits to the cancellation page in 30 days",
        "käyntiä irtisanomissivulla 30 päivässä", as_float("cancellation_visits_30d"), direction=1,
    ),
    _usage(
        "cancellation_page_visits_90d", "visits", 90, "usage_decline", "visits to the cancellation page in 90 days",
        "käyntiä irtisanomissivulla 90 päivässä", as_float("cancellation_visits_90d"), direction=1,
    ),
]  # fmt: skip


def slug(name: str) -> str:
    """A product feature's name as part of a column name.

    >>> slug("Create Lead/v2")
    'create_lead_v2'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"


def of_product_features(names: Sequence[str]) -> tuple[list[Count], list[Feature]]:
    """Counts and features for the product's own most used features, in the order of `names`.

    Names that make the same column are told apart by a number: use_of_export_90d, use_of_export_2_90d.
    """
    counts: list[Count] = []
    features: list[Feature] = []
    for position, name in enumerate(names):
        twins = [slug(other) for other in names[:position]].count(slug(name))
        count, columns = _of_product_feature(name, f"use_of_{slug(name)}" + (f"_{twins + 1}" if twins else ""))
        counts.append(count)
        features += columns
    return counts, features


def _of_product_feature(name: str, key: str) -> tuple[Count, list[Feature]]:
    count = Count(
        f"{key}_90d", SOURCE, lambda v: v.quantity.sum(where=within(v, _NAMED_DAYS) & (v.feature == name)), over="by_feature"
    )  # fmt: skip
    return count, [
        _usage(
            f"{key}_90d", "events", 90, "low_adoption", f"uses of {name} in the last 90 days",
            f"kertaa käytetty: {name}, viimeiset 90 päivää", as_float(f"{key}_90d"),
        ),
        _usage(
            f"{key}_per_mrr_90d", "events per money", 90, "price_pressure",
            f"uses of {name} per unit of price in 90 days", f"käyttöä laskutettua euroa kohden: {name}, 90 päivää",
            lambda c: ratio(c[f"{key}_90d"], c.mrr_running),
        ),
    ]  # fmt: skip
