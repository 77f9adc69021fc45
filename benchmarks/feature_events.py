"""Simulated usage events in Parquet files by month, for measuring: as many as asked, the same for the same seed.

Accounts differ in size by a lognormal law (20 users on average) and in how much they do; a few begin late and a few fall silent;
weekends are quiet; what is used follows Zipf's law. Which accounts and months there are does not hang on how many events: only
the rate does. DuckDB draws by hashing, one month at a time, so that memory stays small.
"""

import datetime as dt
import math
from pathlib import Path

import duckdb

FIRST_DAY = dt.date(2024, 1, 1)
EVENTS, ACCOUNTS, MONTHS, SNAPSHOTS = 50_000_000, 20_000, 24, 21
#: Features by popularity, and the rare page on which one cancels.
FEATURES = (
    "dashboard", "search", "record_view", "report", "export", "comment", "import", "share", "automation", "api_token",
    "audit_log", "forecast",
)  # fmt: skip
RARE = "cancellation_page"
#: Features whose events carry a value: how much is handled.
VALUED = ("export", "import", "automation")
_SLOTS = 2_000
_LATE_DAYS, _LATE_SHARE = 40, 0.02


def month_first(month: int) -> dt.date:
    """First day of the month so many months after the first one.

    >>> month_first(13)
    datetime.date(2025, 2, 1)
    """
    years, months = divmod(month, 12)
    return dt.date(FIRST_DAY.year + years, 1 + months, 1)


def write_events(folder: Path, events: int = EVENTS, accounts: int = ACCOUNTS, months: int = MONTHS, seed: int = 0) -> None:
    """Write usage/YYYY-MM.parquet, accounts.parquet and subscriptions.parquet into `folder`; about `events` rows (± 1 %)."""
    (folder / "usage").mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        _accounts(connection, accounts, months, seed)
        connection.execute(f"copy ({_ACCOUNTS}) to '{folder / 'accounts.parquet'}'")
        connection.execute(f"copy ({_SUBSCRIPTIONS}) to '{folder / 'subscriptions.parquet'}'")
        _days(connection, FIRST_DAY, month_first(months))
        rate = events / _exposure(connection)
        for month in range(months):
            first = month_first(month)
            _days(connection, first, month_first(month + 1))
            drawn = f"select * from ({_events(rate, seed)}) order by occurred_at, event_id"
            connection.execute(f"copy ({drawn}) to '{folder / 'usage' / f'{first:%Y-%m}.parquet'}'")


def night(file: Path, events: int = 70_000, accounts: int = ACCOUNTS, months: int = MONTHS, seed: int = 0) -> None:
    """Write one more file: exactly so many events of the day after the last month, 2 % of them up to 40 days late.

    It does not hang on how many events were written before, of the same accounts, months and seed.
    """
    last = month_first(months)
    with duckdb.connect() as connection:
        _accounts(connection, accounts, months, seed)
        _days(connection, last, last + dt.timedelta(days=1))
        rate = 1.5 * events / _exposure(connection)
        late = f"{_draw('event_id', 'late', seed)} < {_LATE_SHARE}"
        days = f"case when {late} then 1 + (hash(event_id, {seed}) % {_LATE_DAYS})::integer else 0 end"
        drawn = f"select * replace (occurred_at - to_days({days}) as occurred_at) from ({_events(rate, seed)})"
        connection.execute(f"copy ({drawn} order by hash(event_id) limit {events}) to '{file}'")


def write_spine(file: Path, accounts: int = ACCOUNTS, months: int = MONTHS, snapshots: int = SNAPSHOTS) -> None:
    """Write every account at the first of each of the last `snapshots` months, the end of the last one included."""
    firsts = ", ".join(f"timestamp '{month_first(months - back)}'" for back in reversed(range(snapshots)))
    query = f"select {_NAME} as account_id, unnest([{firsts}]) as as_of from range({accounts}) as t(a) order by as_of, account_id"
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{file}'")


_NAME = "printf('a%06d', a)"
_ACCOUNTS = f"select {_NAME} as account_id, started_at as created_at from account order by a"
_SUBSCRIPTIONS = f"""
select {_NAME} as account_id, printf('s%06d', a) as subscription_id, started_at, 'core' as product,
    ['basic', 'team', 'business'][1 + (a % 3)] as plan, seats, (seats * 25)::decimal(18, 2) as mrr
from account order by a
"""


def _draw(what: str, of: str, seed: int) -> str:
    """SQL of a number in (0, 1) that hangs on `what`, on what it is drawn for, and on the seed alone.

    Numbers are written with an exponent: without one DuckDB computes slow decimals.
    """
    return f"((hash({what}, '{of}', {seed}) >> 11)::double + 5e-1) / {2**53}e0"


def _normal(of: str, seed: int) -> str:
    return f"sqrt(-2 * ln({_draw('a', of, seed)})) * cos(2 * pi() * {_draw('a', of + ' angle', seed)})"


def _accounts(connection: duckdb.DuckDBPyConnection, accounts: int, months: int, seed: int) -> None:
    """Create `slot`: the feature of each; `account`: size, activity and days of use; all subscriptions began before February."""
    span = (month_first(months) - FIRST_DAY).days
    rows = ", ".join(f"({slot}, '{name}', {name in VALUED})" for slot, name in enumerate(_popular()))
    connection.execute(f"create table slot as select * from (values {rows}) as t(slot, feature, valued)")
    connection.execute(f"""
    create table account as
    select a, users, ceil(users * (1.1 + 0.5 * {_draw("a", "seats", seed)}))::bigint as seats,
        users * exp(0.7 * {_normal("activity", seed)}) as activity,
        timestamp '{FIRST_DAY}' + to_days(30 - ({_draw("a", "started", seed)} * 1000)::integer) as started_at,
        greatest(started_at::date, case when {_draw("a", "late", seed)} < 0.15
            then date '{FIRST_DAY}' + (1 + {span} * 0.9 * {_draw("a", "begins", seed)})::integer end) as first_day,
        case when {_draw("a", "silent", seed)} < 0.15
            then date '{FIRST_DAY}' + (30 + {span} * {_draw("a", "ends", seed)})::integer else date '9999-01-01' end as last_day
    from (select a, greatest(1, round(exp({math.log(20) - 0.5} + {_normal("size", seed)})))::bigint as users
        from range({accounts}) as t(a))
    """)


def _days(connection: duckdb.DuckDBPyConnection, first: dt.date, end: dt.date) -> None:
    """Create `day`: days and how much is done on each; a weekend has a sixth of a working day."""
    connection.execute(f"""
    create or replace table day as
    select d::date as day,
        case when isodow(d) > 5 then 2e-1 else 1.2e0 end * (1 + 1.5e-1 * cos(2 * pi() * dayofyear(d) / 365)) as season
    from range(timestamp '{first}', timestamp '{end}', interval 1 day) as t(d)
    """)


_DAYS_OF_USE = "account join day on day >= first_day and day < last_day"


def _exposure(connection: duckdb.DuckDBPyConnection) -> float:
    """How many events a rate of one makes on the days there are, on average."""
    found = connection.execute(f"select sum(activity * season) from {_DAYS_OF_USE}").fetchone()
    if found is None or not found[0]:
        raise ValueError("no account is in use on these days: ask for more accounts or months")
    return float(found[0])


def _events(rate: float, seed: int) -> str:
    """SQL of the events of the days that `day` holds; use comes in bursts, so a day's amount follows an exponential law."""
    amount = f"{rate:.17e} * activity * season * -ln({_draw('a, day', 'burst', seed)}) + {_draw('a, day', 'rest', seed)}"
    return f"""
    select {_NAME} as account_id, feature,
        day + to_microseconds((3.6e9 * (6 + 8 * {_bits("second", 0, 16)} + 6 * {_bits("second", 16, 16)}))::bigint)
            as occurred_at,
        printf('%d.%d.%d', a, day - date '{FIRST_DAY}', k) as event_id,
        printf('u%06d.%d', a, floor(users * pow({_bits("first", 0, 24)}, 1.5e0))::bigint) as user_id,
        case when {_bits("first", 24, 8)} < 0.92e0 then 1 else 2 + (first >> 32) % 4 end::bigint as quantity,
        case when valued then round(exp(3 + 3 * {_bits("second", 32, 24)}), 2) end as value
    from (
        select a, users, day, k, hash(a, day, k, {seed}) as first, hash(k, a, day, {seed}) as second
        from (select a, users, day, unnest(range(floor({amount})::bigint)) as k from {_DAYS_OF_USE})
    ) join slot on slot = (first >> 36) % {_SLOTS}
    """


def _bits(of: str, start: int, bits: int) -> str:
    """SQL of a number in [0, 1) out of some bits of a hash."""
    return f"((({of} >> {start}) & {2**bits - 1}) / {2**bits}e0)"


def _popular() -> list[str]:
    """Each feature as often as it is used, of so many slots: the rare one once.

    >>> len(_popular()), _popular().count(RARE)
    (2000, 1)
    """
    weights = [1 / place for place in range(1, len(FEATURES) + 1)]
    ends = [round((_SLOTS - 1) * sum(weights[: place + 1]) / sum(weights)) for place in range(len(weights))]
    starts = [0, *ends[:-1]]
    return [name for name, start, end in zip(FEATURES, starts, ends, strict=True) for _ in range(end - start)] + [RARE]
