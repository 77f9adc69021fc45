"""Whether what others counted makes the features that Kunto computed: the largest difference of any column."""

from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.catalogue import DAY, catalog
from features.catalogue.declare import log_ratio, ratio

_KEY = ["account_id", "as_of"]


def largest_difference(ours: Path, counted: Path, subscriptions: Path) -> tuple[str, float]:
    """Return the usage feature that differs most, and by how much (relative above 1), over the rows that were counted.

    `ours`: the feature frame; `counted`: what a peer wrote (`feature_peers.columns`); all Parquet. The peer's counts go through
    the catalogue's own expressions. Infinite where one of the two is null and the other is not, or a row is missing.
    """
    theirs = _features(pd.read_parquet(counted), pd.read_parquet(subscriptions)).set_index(_KEY)
    mine = pd.read_parquet(ours, columns=[*_KEY, *theirs.columns]).set_index(_KEY).reindex(theirs.index)
    differences = {}
    for name in theirs.columns:
        a, b = (frame[name].to_numpy(dtype=np.float64) for frame in (mine, theirs))
        apart = np.abs(a - b) / np.maximum(np.abs(b), 1)
        apart = np.where(np.isnan(a) & np.isnan(b), 0.0, np.where(np.isnan(a) != np.isnan(b), np.inf, apart))
        differences[name] = float(apart.max(initial=0.0))
    worst = max(differences, key=differences.__getitem__)
    return worst, differences[worst]


def _features(counts: pd.DataFrame, subscriptions: pd.DataFrame) -> pd.DataFrame:
    """The catalogue's usage features of a peer's counts; an account has one subscription, which runs on."""
    terms = subscriptions[["account_id", "started_at", "seats", "mrr"]]
    frame = counts.astype({"account_id": "str"}).merge(terms, on="account_id", how="left")
    micros = {name: frame[name].astype("datetime64[us]").astype("int64") for name in ("as_of", "started_at")}
    frame["as_of"] = micros["as_of"]
    frame["first_started_at"], frame["seats_running"] = micros["started_at"], frame["seats"]
    frame["mrr_running"] = frame["mrr"].astype("float64")
    table = ibis.memtable(frame.drop(columns=["started_at", "seats", "mrr"]))
    names = [name.removeprefix("users_distinct_") for name in table.columns if name.startswith("users_distinct_")]
    table = table.mutate(**{f"users_peak_{name}": ibis.null("int64") for name in names})
    # Kunto counts days in the bits of masks, others one by one.
    of_days = _of_days(table)
    declared = {name: feature for name, feature in catalog().items() if feature.source == "usage" and feature.versus is None}
    columns = {name: of_days[name] if name in of_days else feature.expr(table) for name, feature in declared.items()}
    found: pd.DataFrame = table.select(*_KEY, **columns).execute()
    found["as_of"] = found["as_of"].to_numpy(dtype="int64").view("datetime64[us]")
    return found


def _of_days(counts: Any) -> dict[str, Any]:
    names = {f"active_days_{length}d": f"active_days_{length}d" for length in (7, 30, 90)}
    names |= {"active_weeks_90d": "active_weeks", "longest_silence_90d": "longest_silence_90d"}
    age = ibis.greatest(counts.as_of - counts.first_started_at, counts.first_use_age)
    return {
        **{feature: counts[name].cast("float64") for feature, name in names.items()},
        "active_days_share_365d": ratio(counts.active_days_365d, ibis.least((age + DAY - 1) // DAY, 365)),
        "active_days_trend_30d": log_ratio(counts.active_days_30d, counts.active_days_30d_before),
    }
