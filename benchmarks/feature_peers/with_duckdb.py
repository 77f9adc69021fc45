"""Account features in plain DuckDB SQL: events joined to each snapshot's window, aggregates under conditions.

`python -m benchmarks.feature_peers.with_duckdb FILES SPINE OUT`
"""

from pathlib import Path

import duckdb

from benchmarks.feature_peers.columns import (
    ACTIVE_DAYS,
    ACTIVE_WEEKS,
    CANCELLATION_PAGES,
    DAY_MICROS,
    EVENTS,
    FEATURES,
    FIRST_USE,
    LAST_USE,
    REACH_DAYS,
    RECENCY_DAYS,
    SILENCE,
    SILENCE_DAYS,
    USERS,
    VALUES,
    VISITS,
    WEEKS,
)
from benchmarks.feature_peers.program import program


def run(files: Path, spine: Path, out: Path) -> None:
    """Write the counts of each row of `spine` into `out`, one snapshot after the other: memory holds one year's join."""
    with duckdb.connect() as connection:
        connection.execute(f"create table spine as select * from '{spine}'")
        snapshots = connection.execute("select distinct as_of from spine order by as_of").fetchall()
        for number, (as_of,) in enumerate(snapshots):
            query = _query(f"'{files}/usage/*.parquet'", f"timestamp '{as_of}'")
            connection.execute(f"insert into counted {query}" if number else f"create table counted as {query}")
        connection.execute(f"copy counted to '{out}' (format parquet)")


def _query(usage: str, as_of: str) -> str:
    def within(window: tuple[int, int]) -> str:
        length, skip = window
        recent = f"age <= {(length + skip) * DAY_MICROS}"
        return f"{recent} and age > {skip * DAY_MICROS}" if skip else recent

    columns = {name: f"sum(quantity) filter ({within(window)})" for name, window in EVENTS.items()}
    columns |= {name: f"count(distinct user_id) filter ({within(window)})" for name, window in USERS.items()}
    columns |= {name: f"count(distinct feature) filter ({within(window)})" for name, window in FEATURES.items()}
    columns |= {name: f"count(distinct day) filter ({within(window)})" for name, window in ACTIVE_DAYS.items()}
    columns[ACTIVE_WEEKS] = f"count(distinct day // 7) filter (day < {WEEKS * 7})"
    # The gaps between days with use, the one up to T and the one down to the window's start included.
    columns["days"] = f"list_sort(list(distinct day) filter (day < {SILENCE_DAYS}))"
    columns |= {name: f"sum(value) filter ({within(window)})" for name, window in VALUES.items()}
    pages = ", ".join(f"'{page}'" for page in CANCELLATION_PAGES)
    columns |= {
        name: f"sum(quantity) filter ({within(window)} and lower(feature) in ({pages}))" for name, window in VISITS.items()
    }
    columns[LAST_USE] = f"least(min(age), {RECENCY_DAYS * DAY_MICROS})"
    columns[FIRST_USE] = "max(age)"
    aggregates = ", ".join(f"{expression} as {name}" for name, expression in columns.items())
    days = f"list_concat(list_prepend(-1, coalesce(days, [])), [{SILENCE_DAYS}])"
    gaps = f"list_max(list_transform(range(2, len({days}) + 1), lambda i: ({days})[i] - ({days})[i - 1] - 1))"
    own = {name: f"coalesce({name}, 0)" for name in columns} | {LAST_USE: f"coalesce({LAST_USE}, {RECENCY_DAYS * DAY_MICROS})"}
    own = {SILENCE if name == "days" else name: gaps if name == "days" else value for name, value in own.items()}
    return f"""
    with seen as (
        select spine.account_id, u.feature, u.user_id, u.quantity, u.value,
            epoch_us(spine.as_of) - epoch_us(u.occurred_at) as age, (age - 1) // {DAY_MICROS} as day
        from spine join {usage} u on u.account_id = spine.account_id
            and u.occurred_at < spine.as_of and u.occurred_at >= spine.as_of - to_days({REACH_DAYS})
        where spine.as_of = {as_of} and u.occurred_at < {as_of} and u.occurred_at >= {as_of} - to_days({REACH_DAYS})
    ), counts as (select account_id, {aggregates} from seen group by account_id)
    select account_id, as_of, {", ".join(f"{value} as {name}" for name, value in own.items())}
    from (select * from spine where as_of = {as_of}) left join counts using (account_id)
    """


if __name__ == "__main__":
    program(run)
