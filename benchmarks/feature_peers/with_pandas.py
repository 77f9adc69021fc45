"""Account features in pandas: days added up month by month, then one snapshot after the other.

`python -m benchmarks.feature_peers.with_pandas FILES SPINE OUT`
"""

from pathlib import Path

import pandas as pd

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

_KEY = ["account", "day"]


def run(files: Path, spine: Path, out: Path) -> None:
    """Write the counts of each row of `spine` into `out`."""
    rows = pd.read_parquet(spine)
    accounts = pd.Index(rows["account_id"].unique())
    days, users, features = _by_day(files, accounts)
    counted = []
    for instant, asked in rows.groupby("as_of"):
        as_of = pd.Timestamp(str(instant))
        year = _since(days, as_of, REACH_DAYS)
        frame = _sums(year, as_of)
        frame |= _distinct(_since(users, as_of, 180), "user", USERS)
        frame |= _distinct(_since(features, as_of, 90), "feature", FEATURES)
        table = pd.DataFrame(frame, index=pd.RangeIndex(len(accounts)))
        table[LAST_USE] = table[LAST_USE].fillna(RECENCY_DAYS * DAY_MICROS)
        table[SILENCE] = table[SILENCE].fillna(SILENCE_DAYS)
        table = table.fillna(0).set_axis(accounts).loc[asked["account_id"], list(COUNTS)]
        counted.append(table.rename_axis("account_id").reset_index().assign(as_of=as_of))
    pd.concat(counted).to_parquet(out, index=False)


def _by_day(files: Path, accounts: pd.Index) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Each account's sums of a day, and its users and features of a day; strings become numbers."""
    days, users, features = [], [], []
    for file in sorted((files / "usage").glob("*.parquet")):
        rows = pd.read_parquet(file, columns=["account_id", "feature", "occurred_at", "user_id", "quantity", "value"])
        rows["account"] = accounts.get_indexer(pd.Index(rows["account_id"])).astype("int32")
        rows = rows[rows["account"] >= 0]
        rows["day"] = (rows["occurred_at"].astype("int64") // DAY_MICROS).astype("int32")
        rows["visits"] = rows["quantity"].where(rows["feature"].str.lower().isin(CANCELLATION_PAGES), 0)
        days.append(
            rows.groupby(_KEY, as_index=False).agg(
                quantity=("quantity", "sum"),
                value=("value", "sum"),
                visits=("visits", "sum"),
                first=("occurred_at", "min"),
                last=("occurred_at", "max"),
            )
        )
        users.append(rows[[*_KEY, "user_id"]].rename(columns={"user_id": "user"}).drop_duplicates())
        features.append(rows[[*_KEY, "feature"]].drop_duplicates())
    of_users, of_features = pd.concat(users, ignore_index=True), pd.concat(features, ignore_index=True)
    of_users["user"] = of_users["user"].astype("category").cat.codes
    of_features["feature"] = of_features["feature"].astype("category").cat.codes
    # A late event belongs to a day that an earlier file has too.
    of_days = (
        pd.concat(days)
        .groupby(_KEY, as_index=False)
        .agg({"quantity": "sum", "value": "sum", "visits": "sum", "first": "min", "last": "max"})
    )
    return of_days, of_users, of_features


def _since(rows: pd.DataFrame, as_of: pd.Timestamp, length: int) -> pd.DataFrame:
    """The rows of so many days before `as_of`, and how many days `ago`: 0 is the last one."""
    today = as_of.value // 1_000 // DAY_MICROS
    seen = rows[rows["day"].between(today - length, today - 1)]
    return seen.assign(ago=today - 1 - seen["day"])


def _within(rows: pd.DataFrame, window: tuple[int, int], column: str) -> pd.DataFrame:
    length, skip = window
    return rows.loc[rows["ago"].between(skip, skip + length - 1), ["account", column]]


def _sums(year: pd.DataFrame, as_of: pd.Timestamp) -> dict[str, pd.Series]:
    found = {}
    for column, windows in (("quantity", EVENTS), ("value", VALUES), ("visits", VISITS)):
        for name, window in windows.items():
            found[name] = _within(year, window, column).groupby("account")[column].sum()
    for name, window in ACTIVE_DAYS.items():
        found[name] = _within(year, window, "ago").groupby("account").size()
    weeks = _within(year, (7 * WEEKS, 0), "ago")
    found[ACTIVE_WEEKS] = (weeks["ago"] // 7).groupby(weeks["account"]).nunique()
    recent = _within(year, (SILENCE_DAYS, 0), "ago").sort_values(["account", "ago"])
    gaps = recent["ago"] - recent.groupby("account")["ago"].shift(fill_value=-1) - 1
    until_start = SILENCE_DAYS - 1 - recent.groupby("account")["ago"].max()
    found[SILENCE] = gaps.groupby(recent["account"]).max().clip(lower=until_start)
    by_account = year.groupby("account")
    found[LAST_USE] = _micros(as_of - by_account["last"].max()).clip(upper=RECENCY_DAYS * DAY_MICROS)
    found[FIRST_USE] = _micros(as_of - by_account["first"].min())
    return found


def _micros(age: pd.Series) -> pd.Series:
    return age.astype("timedelta64[us]").astype("int64")


def _distinct(rows: pd.DataFrame, column: str, windows: dict[str, tuple[int, int]]) -> dict[str, pd.Series]:
    found = {}
    for name, window in windows.items():
        found[name] = _within(rows, window, column).drop_duplicates().groupby("account").size()
    return found


if __name__ == "__main__":
    program(run, "pyarrow.parquet")
