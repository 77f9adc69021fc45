"""Days of use packed by month: they unpack to what they were, and any T reads out of them what the days themselves say."""

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_rollups import event, files_of, write
from random_tables import random_tables

from features import month_rows
from features.builder import Builder, build
from features.rollup_state import month_days
from features.rollup_store import RollupStore
from features.sources import SourceError

FEBRUARY, MARCH = month_days("2024-02")
DAILY = pa.schema(
    [("account_id", pa.string())]
    + [(name, pa.int64()) for name in ("clock", "day", "known", "until", "quantity")]
    + [("value", pa.decimal128(24, 6)), *((name, pa.int64()) for name in ("users", "first_at", "last_at"))]
)
amounts = st.none() | st.decimals(-(10**6), 10**6, places=6)
whole = st.integers(-(10**12), 10**12)
days = st.tuples(
    st.sampled_from(["a", "b", "é"]), st.integers(FEBRUARY, MARCH - 1), st.none() | st.integers(1, 400), whole, amounts,
    st.none() | st.integers(0, 99), whole, whole,
)  # fmt: skip


@given(st.lists(days, max_size=40, unique_by=lambda row: row[:3]))
def test_months_unpack_to_the_days_that_they_were_packed_of(rows):
    told = [
        {"account_id": account, "clock": 0, "day": day, "known": lag and day + lag, "quantity": quantity, "value": value,
         "users": users, "first_at": first, "last_at": last}
        for account, day, lag, quantity, value, users, first, last in rows
    ]  # fmt: skip
    daily = pa.Table.from_pylist(told, schema=DAILY)
    with duckdb.connect() as connection:
        connection.register("daily", daily)
        connection.execute(f"create table months as {month_rows.packed('from daily', FEBRUARY)}")
        found = connection.execute(f"from {month_rows.unpacked('months')}").to_arrow_table()
    # Where a month's day has no value, what is left of it is nothing.
    nothing = pa.scalar(0, DAILY.field("value").type)
    keys = [(name, "ascending") for name in ("account_id", "day", "known")]
    both = [table.cast(DAILY).sort_by(keys) for table in (found.select(DAILY.names), daily)]
    left, right = (table.set_column(6, "value", table["value"].fill_null(nothing)) for table in both)
    assert left.equals(right)


@pytest.fixture(scope="module")
def history() -> dict[str, pd.DataFrame]:
    """Two years of use, some of it known much later."""
    tables = random_tables(17, 25, {"usage": 5_000, "subscriptions": 40}, "2023-07-01", "2025-07-01")
    usage = tables["usage"].dropna(subset=["occurred_at", "account_id", "feature"])
    subscriptions = tables["subscriptions"].assign(currency="EUR")
    return {"accounts": tables["accounts"], "subscriptions": subscriptions, "usage": usage}


@pytest.fixture(scope="module")
def store(history, tmp_path_factory) -> RollupStore:
    """The same in kept rollups, out of files that overlap in months."""
    folder = tmp_path_factory.mktemp("use")
    for number, part in enumerate((history["usage"].iloc[::2], history["usage"].iloc[1::2])):
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), folder / f"{number}.parquet")
    kept = RollupStore(tmp_path_factory.mktemp("kept"))
    kept.update(files_of(folder))
    return kept


@pytest.mark.parametrize("as_of", ["2023-08-15", "2024-02-29", "2024-07-01", "2025-01-31", "2025-06-30", "2025-07-02"])
def test_any_midnight_reads_out_of_months_what_the_days_say(history, store, as_of):
    spine = history["accounts"][["account_id"]].assign(as_of=pd.Timestamp(as_of))
    expected = build(history, spine)
    assert expected["events_90d"].sum() > 0
    backend = ibis.duckdb.connect()
    tables = {name: backend.create_table(name, history[name]) for name in ("accounts", "subscriptions")}
    with Builder({**tables, "usage": store.rolled(backend)}) as builder:
        at_once = builder.features(spine)
        pd.testing.assert_frame_equal(at_once, expected, rtol=1e-9, atol=1e-9)
        few = [builder.features(spine.iloc[[row]]) for row in (3, 4)]
    pd.testing.assert_frame_equal(pd.concat(few), expected.iloc[[3, 4]], rtol=1e-9, atol=1e-9)


def test_lists_that_no_window_needs_are_not_read(store):
    rolled = store.rolled(ibis.duckdb.connect())
    last = month_days("2025-07")[0]
    found = duckdb.sql(f"select * from {rolled.months(last, last)}").df()
    newest, oldest, between = (found[found["first"] == month_days(month)[0]] for month in ("2025-06", "2024-07", "2024-12"))
    assert newest["value_sums"].notna().any()
    assert oldest["value_sums"].isna().all()
    assert between["users"].isna().all()
    assert between.loc[between["lag"] == 0, "last_ats"].isna().all()
    assert between.loc[between["lag"] > 0, "last_ats"].notna().all()


def test_sums_of_a_month_that_do_not_fit_are_named(tmp_path):
    large = {"quantity": 2**63 - 1}
    write(tmp_path / "source" / "1.parquet", [event("x", "2025-01-05", **large), event("y", "2025-01-06", **large)])
    kept = RollupStore(tmp_path / "kept")
    with pytest.raises(SourceError, match="2025-01/days: sums of quantity or of value of one account do not fit: correct"):
        kept.update(files_of(tmp_path / "source"))
    with pytest.raises(SourceError, match="holds no rollups"):
        kept.rolled(ibis.duckdb.connect())
