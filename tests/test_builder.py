"""One builder, kept: whichever way its rows are computed, and however often it is asked, the answer is the same."""

from unittest import mock

import ibis
import numpy as np
import pandas as pd
import pytest
from random_tables import random_tables

from features.builder import Builder, build, snapshot

PRODUCT_FEATURES = ("export",)
MIDNIGHTS = pd.date_range("2025-03-01", periods=6, freq="MS")


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return random_tables(11, 30, {"usage": 6_000, "subscriptions": 60}, "2024-01-01", "2025-09-01")


@pytest.fixture(scope="module")
def spine(frames) -> pd.DataFrame:
    return frames["accounts"][["account_id"]].merge(pd.DataFrame({"as_of": MIDNIGHTS}), how="cross")


def on_duckdb(frames: dict[str, pd.DataFrame]) -> dict[str, ibis.Table]:
    connection = ibis.duckdb.connect()
    return {name: connection.create_table(name, frame) for name, frame in frames.items()}


def equal(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Medians of many add up in the order of the engine: the last bits may differ."""
    pd.testing.assert_frame_equal(left.reset_index(drop=True), right.reset_index(drop=True), rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module", params=["versioned", "as it happens"])
def tables(request, frames) -> dict[str, ibis.Table]:
    lacking = [] if request.param == "versioned" else ["recorded_at", "users", "value"]
    dated = frames["usage"].dropna(subset="occurred_at")
    odd = dated.head(2).assign(occurred_at=pd.to_datetime(["1931-01-05", "9000-01-01"]), recorded_at=pd.NaT, event_id=["x", "y"])
    return on_duckdb(frames | {"usage": pd.concat([dated, odd], ignore_index=True).drop(columns=lacking)})


def test_running_sums_say_what_adding_up_says(tables, spine):
    by_sums = build(tables, spine, PRODUCT_FEATURES)
    with mock.patch("features.spine.MANY_MIDNIGHTS", len(MIDNIGHTS) + 1):
        one_by_one = build(tables, spine, PRODUCT_FEATURES)
    equal(by_sums, one_by_one)


def test_sums_beyond_64_bits_are_added_up_by_the_engine(frames, spine):
    large = frames["usage"].assign(value=4e12)
    tables = on_duckdb(frames | {"usage": large})
    found = build(tables, spine, PRODUCT_FEATURES)
    with mock.patch("features.spine.MANY_MIDNIGHTS", len(MIDNIGHTS) + 1):
        equal(found, build(tables, spine, PRODUCT_FEATURES))
    assert found["value_30d"].max() > np.iinfo(np.int64).max / 1e6


def test_one_row_after_the_other_is_as_all_at_once(tables, spine):
    """Also between midnights, whose peers are the day's."""
    asked = pd.concat([spine, spine.assign(as_of=spine["as_of"] + pd.Timedelta(hours=5))], ignore_index=True)
    at_once = snapshot(tables, asked, PRODUCT_FEATURES)
    chosen = [0, 31, 32, 200, 1, 201, 0]
    with Builder(tables, PRODUCT_FEATURES) as builder:
        alone = [builder.snapshot(asked.iloc[[row]]) for row in chosen]
    for part in ("features", "facts", "peers"):
        found = pd.concat([getattr(each, part) for each in alone])
        equal(found, getattr(at_once, part).iloc[chosen])


def test_rows_come_back_in_their_order_and_as_often_as_asked(tables, spine):
    again = spine.sample(40, replace=True, random_state=3).set_index(np.arange(100, 140))
    found = build(tables, again)
    assert list(found.index) == list(again.index)
    assert found["account_id"].tolist() == again["account_id"].tolist()
    assert found["as_of"].tolist() == again["as_of"].tolist()
    equal(
        found,
        build(tables, spine)
        .set_index(["account_id", "as_of"])
        .loc[list(zip(again["account_id"], again["as_of"], strict=True))]
        .reset_index(),
    )


def test_without_peers_there_is_no_snapshot(tables, spine):
    with Builder(tables, peers=False) as builder:
        with pytest.raises(ValueError, match="peers=True"):
            builder.snapshot(spine.head(1))
        equal(builder.features(spine.head(3)), build(tables, spine.head(3)))
