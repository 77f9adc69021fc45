"""Account features in Polars: days added up by the streaming engine, then one snapshot after the other.

`python -m benchmarks.feature_peers.with_polars FILES SPINE OUT`, in an environment that has Polars.
"""

from pathlib import Path
from typing import Any

from benchmarks.feature_peers.columns import (
    ACTIVE_DAYS,
    ACTIVE_WEEKS,
    CANCELLATION_PAGES,
    COUNTS,
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
    """Write the counts of each row of `spine` into `out`."""
    import polars as pl  # not in Kunto's own environment

    rows = pl.read_parquet(spine)
    usage = pl.scan_parquet(files / "usage" / "*.parquet").with_columns(day=pl.col("occurred_at").dt.date())
    visits = pl.col("feature").str.to_lowercase().is_in(list(CANCELLATION_PAGES))
    by_day = pl.collect_all(
        [
            usage.group_by("account_id", "day").agg(
                pl.col("quantity").sum(),
                pl.col("value").sum(),
                pl.col("quantity").filter(visits).sum().alias("visits"),
                pl.col("occurred_at").min().alias("first"),
                pl.col("occurred_at").max().alias("last"),
            ),
            usage.select("account_id", "day", "user_id").unique(),
            usage.select("account_id", "day", "feature").unique(),
        ],
        engine="streaming",
    )
    accounts = pl.Enum(rows["account_id"].unique())
    rows = rows.with_columns(pl.col("account_id").cast(accounts))
    days, users, features = (
        part.with_columns(pl.col("account_id").cast(accounts), pl.col(pl.String).exclude("account_id").cast(pl.Categorical))
        for part in by_day
    )
    counted = []
    for (as_of,), asked in rows.group_by("as_of", maintain_order=True):
        sums = _seen(days, as_of, REACH_DAYS).group_by("account_id").agg(*_sums(as_of))
        by_user = _seen(users, as_of, 180).group_by("account_id").agg(*_distinct("user_id", USERS))
        by_feature = _seen(features, as_of, 90).group_by("account_id").agg(*_distinct("feature", FEATURES))
        table = asked.lazy()
        for part in (sums, by_user, by_feature):
            table = table.join(part, on="account_id", how="left")
        table = table.with_columns(
            pl.col(LAST_USE).fill_null(RECENCY_DAYS * DAY_MICROS), pl.col(SILENCE).fill_null(SILENCE_DAYS)
        ).fill_null(0)
        counted.append(table.select("account_id", "as_of", *COUNTS).collect(engine="streaming"))
    pl.concat(counted).cast({"account_id": pl.String}).write_parquet(out)


def _seen(rows: Any, as_of: Any, length: int) -> Any:
    """The rows of so many days before `as_of`, and how many days `ago`: 0 is the last one."""
    import polars as pl

    ago = (pl.lit(as_of.date()) - pl.col("day")).dt.total_days() - 1
    return rows.lazy().with_columns(ago=ago).filter(pl.col("ago").is_between(0, length - 1))


def _within(window: tuple[int, int]) -> Any:
    import polars as pl

    length, skip = window
    return pl.col("ago").is_between(skip, skip + length - 1)


def _sums(as_of: Any) -> list[Any]:
    import polars as pl

    found = [
        pl.col(column).filter(_within(window)).sum().alias(name)
        for column, windows in (("quantity", EVENTS), ("value", VALUES), ("visits", VISITS))
        for name, window in windows.items()
    ]
    found += [_within(window).sum().alias(name) for name, window in ACTIVE_DAYS.items()]
    found.append((pl.col("ago").filter(_within((7 * WEEKS, 0))) // 7).n_unique().alias(ACTIVE_WEEKS))
    recent = pl.col("ago").filter(_within((SILENCE_DAYS, 0))).sort()
    gaps = recent - recent.shift(1, fill_value=-1) - 1
    until_start = SILENCE_DAYS - 1 - recent.max()
    found.append(pl.max_horizontal(gaps.max(), until_start).fill_null(SILENCE_DAYS).alias(SILENCE))
    last, first = ((pl.lit(as_of) - age).dt.total_microseconds() for age in (pl.col("last").max(), pl.col("first").min()))
    return [*found, pl.min_horizontal(last, RECENCY_DAYS * DAY_MICROS).alias(LAST_USE), first.alias(FIRST_USE)]


def _distinct(column: str, windows: dict[str, tuple[int, int]]) -> list[Any]:
    import polars as pl

    return [pl.col(column).filter(_within(window)).n_unique().alias(name) for name, window in windows.items()]


if __name__ == "__main__":
    program(run, "polars")
