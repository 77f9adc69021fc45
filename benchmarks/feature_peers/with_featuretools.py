"""Account features by featuretools: deep feature synthesis with cutoff times, once for each training window.

`python -m benchmarks.feature_peers.with_featuretools FILES SPINE OUT`, in an environment that has featuretools. It is meant for
a slice of the accounts: the files hold their events only.
"""

import datetime as dt
from pathlib import Path
from typing import Any

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

#: Column of the results ← what is computed within its window: the primitive's own name for it.
_SUM, _VALUE, _VISITS = "SUM(events.quantity)", "SUM(events.value)", "SUM(events.visits)"
_USERS, _FEATURES, _DAYS = "NUM_UNIQUE(events.user_id)", "NUM_UNIQUE(events.feature)", "NUM_UNIQUE(events.day)"
_FIRST, _LAST = "TIME_SINCE_FIRST(events.occurred_at)", "TIME_SINCE_LAST(events.occurred_at)"
_SILENCE, _WEEKS = "LONGEST_SILENCE(events.occurred_at)", "ACTIVE_WEEKS(events.occurred_at)"


def run(files: Path, spine: Path, out: Path) -> None:
    """Write the counts of each row of `spine` into `out`."""
    rows = pd.read_parquet(spine)
    entities = _entities(files, rows)
    wanted: dict[tuple[int, int], dict[str, str]] = {}
    named = (
        (EVENTS, _SUM), (USERS, _USERS), (FEATURES, _FEATURES), (ACTIVE_DAYS, _DAYS), (VALUES, _VALUE), (VISITS, _VISITS),
        ({SILENCE: (SILENCE_DAYS, 0)}, _SILENCE), ({ACTIVE_WEEKS: (7 * WEEKS, 0)}, _WEEKS),
        ({LAST_USE: (REACH_DAYS, 0)}, _LAST), ({FIRST_USE: (REACH_DAYS, 0)}, _FIRST),
    )  # fmt: skip
    for windows, feature in named:
        for name, window in windows.items():
            wanted.setdefault(window, {})[name] = feature
    for window, columns in wanted.items():
        found = _synthesis(entities, rows, window, sorted(set(columns.values())))
        for name, feature in columns.items():
            rows[name] = found[feature].to_numpy(dtype="float64")
    for name in (LAST_USE, FIRST_USE):
        rows[name] = (rows[name] * 1e6).round()
    rows[LAST_USE] = rows[LAST_USE].clip(upper=RECENCY_DAYS * DAY_MICROS).fillna(RECENCY_DAYS * DAY_MICROS)
    rows[SILENCE] = rows[SILENCE].fillna(SILENCE_DAYS)
    rows[["account_id", "as_of", *COUNTS]].fillna(0).to_parquet(out, index=False)


def _entities(files: Path, spine: pd.DataFrame) -> Any:
    import featuretools as ft  # not in Kunto's own environment

    columns = ["account_id", "event_id", "feature", "occurred_at", "user_id", "quantity", "value"]
    events = pd.concat([pd.read_parquet(file, columns=columns) for file in sorted((files / "usage").glob("*.parquet"))])
    events["day"] = events["occurred_at"].dt.strftime("%Y-%m-%d")
    events["visits"] = events["quantity"].where(events["feature"].str.lower().isin(CANCELLATION_PAGES), 0)
    kinds = dict.fromkeys(("feature", "user_id", "day"), "Categorical") | dict.fromkeys(("quantity", "value", "visits"), "Double")
    entities = ft.EntitySet("company")
    accounts = pd.DataFrame({"account_id": spine["account_id"].unique()})
    entities.add_dataframe(accounts, "accounts", index="account_id")
    entities.add_dataframe(events, "events", index="event_id", time_index="occurred_at", logical_types=kinds)
    entities.add_relationship("accounts", "account_id", "events", "account_id")
    return entities


def _synthesis(entities: Any, spine: pd.DataFrame, window: tuple[int, int], names: list[str]) -> pd.DataFrame:
    """The features `names` of one window, row by row of `spine`: a window that ended earlier has an earlier cutoff time."""
    import featuretools as ft

    length, skip = window
    cutoffs = pd.DataFrame({"account_id": spine["account_id"], "time": spine["as_of"] - dt.timedelta(days=skip)})
    primitives = {
        _SUM: "sum", _VALUE: "sum", _VISITS: "sum", _USERS: "num_unique", _FEATURES: "num_unique", _DAYS: "num_unique",
        _FIRST: "time_since_first", _LAST: "time_since_last", _SILENCE: _primitive("LongestSilence", _longest_silence),
        _WEEKS: _primitive("ActiveWeeks", _active_weeks),
    }  # fmt: skip
    declared = ft.dfs(
        entityset=entities,
        target_dataframe_name="accounts",
        agg_primitives=list({str(primitives[name]): primitives[name] for name in names}.values()),
        trans_primitives=[],
        features_only=True,
    )
    found = ft.calculate_feature_matrix(
        [feature for feature in declared if feature.get_name() in names],
        entities,
        cutoff_time=cutoffs,
        cutoff_time_in_index=True,
        training_window=f"{length} days",
        include_cutoff_time=False,
    )
    return found.reindex(pd.MultiIndex.from_frame(cutoffs))


def _longest_silence(times: pd.Series, time: dt.datetime) -> int:
    """The longest run of days without use of the last 90 before `time`."""
    ago = ((pd.Timestamp(time) - times).dt.ceil("D").dt.days - 1).drop_duplicates().sort_values()
    gaps = pd.concat([pd.Series([-1]), ago, pd.Series([SILENCE_DAYS])]).diff() - 1
    return int(gaps.max())


def _active_weeks(times: pd.Series, time: dt.datetime) -> int:
    """Weeks with use, counted back from `time`."""
    return int((((pd.Timestamp(time) - times).dt.ceil("D").dt.days - 1) // 7).nunique())


def _primitive(name: str, function: Any) -> Any:
    """A primitive of one's own: a function of the events' times and the cutoff time."""
    from featuretools.primitives import AggregationPrimitive
    from woodwork.column_schema import ColumnSchema
    from woodwork.logical_types import Datetime, Double

    of = {
        "name": "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_"),
        "input_types": [ColumnSchema(logical_type=Datetime)],
        "return_type": ColumnSchema(logical_type=Double, semantic_tags={"numeric"}),
        "uses_calc_time": True,
        "get_function": lambda self: function,
    }
    return type(name, (AggregationPrimitive,), of)


if __name__ == "__main__":
    program(run, "featuretools")
