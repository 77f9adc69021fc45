"""What every library counts: names, and windows in days. Windows are [T − skip − length, T − skip)."""

#: Sums of quantity: name → (length, skip).
EVENTS = {
    "events_7d": (7, 0),
    "events_30d": (30, 0),
    "events_90d": (90, 0),
    "events_30d_before": (30, 30),
    "events_90d_before": (90, 90),
    "events_180d_before": (180, 30),
    "events_275d_before": (275, 90),
    **{f"events_month_{month}": (30, 30 * month) for month in range(1, 12)},
}
#: Distinct users: name → (length, skip).
USERS = {
    "users_distinct_7d": (7, 0),
    "users_distinct_30d": (30, 0),
    "users_distinct_90d": (90, 0),
    "users_distinct_30d_before": (30, 30),
    "users_distinct_90d_before": (90, 90),
}
#: Distinct features: name → (length, skip).
FEATURES = {"features_30d": (30, 0), "features_90d": (90, 0), "features_30d_before": (30, 30)}
#: Days with use: name → (length, skip).
ACTIVE_DAYS = {
    "active_days_7d": (7, 0),
    "active_days_30d": (30, 0),
    "active_days_90d": (90, 0),
    "active_days_30d_before": (30, 30),
    "active_days_365d": (365, 0),
}
#: Weeks with use of the last 13, counted back from T.
ACTIVE_WEEKS = "active_weeks"
WEEKS = 13
#: The longest run of days without use of the last 90.
SILENCE = "longest_silence_90d"
SILENCE_DAYS = 90
#: Sums of value: name → (length, skip).
VALUES = {"value_30d": (30, 0), "value_90d": (90, 0)}
#: Visits to a page where one cancels: name → (length, skip).
VISITS = {"cancellation_visits_30d": (30, 0), "cancellation_visits_90d": (90, 0)}
CANCELLATION_PAGES = ("cancellation_page", "cancel_page", "cancel_subscription", "cancellation", "downgrade_page")
#: Microseconds from the last and from the first event read to T; the last is no more than 180 days, which stands for none too.
LAST_USE, FIRST_USE = "last_use_age", "first_use_age"
RECENCY_DAYS = 180
#: Events before this many days are not read.
REACH_DAYS = 365

#: Every column, in the order of the results; zero where there is nothing to count.
COUNTS = (*EVENTS, *USERS, *FEATURES, *ACTIVE_DAYS, ACTIVE_WEEKS, SILENCE, *VALUES, *VISITS, LAST_USE, FIRST_USE)
DAY_MICROS = 86_400_000_000
