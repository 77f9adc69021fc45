"""Movements reconcile exactly, follow the golden month, and agree with a slow reference."""

import json
from decimal import Decimal
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.revenue import GAINS, LOSSES, company_metrics, movements, mrr_at

GOLDEN = Path(__file__).resolve().parents[1].parent / "shared" / "golden" / "company_metrics.json"
DAY0 = pd.Timestamp("2026-01-01")


def day(number):
    return None if number is None else DAY0 + pd.Timedelta(days=number)


def table(*rows, columns=("account_id", "mrr", "started_at", "ended_at")):
    frame = pd.DataFrame(rows, columns=list(columns))
    times = [name for name in ("started_at", "ended_at", "recorded_at", "date", "as_of") if name in frame]
    return frame.assign(**{name: pd.to_datetime([day(value) for value in frame[name].replace({np.nan: None})]) for name in times})


def row_of(moved, account):
    found = moved.set_index("account_id").loc[account]
    return {name: value for name, value in found.items() if value and name not in ("opening", "closing")}


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden files are not beside the project")
def test_golden_month():
    golden = json.loads(GOLDEN.read_text())
    found = company_metrics(movements(pd.DataFrame(golden["subscriptions"]), "2026-03-01", "2026-04-01"))
    for name, expected in golden["expected"].items():
        assert round(float(found[name]), 5) == expected, name


@pytest.mark.parametrize("shape", [lambda frame: frame, pa.Table.from_pandas, ibis.memtable])
def test_every_shape_of_table_is_read(shape):
    rows = table(("A", 10.1, 0, None), ("B", 5, 40, None))
    moved = movements(shape(rows), day(31), day(59))
    assert moved["new"].tolist() == [Decimal(0), Decimal(5)]
    assert moved["closing"].tolist() == [Decimal("10.1"), Decimal(5)]


def test_decimal_money_is_exact():
    rows = pd.DataFrame({"account_id": ["A"] * 3, "mrr": [Decimal("0.1"), Decimal("0.2"), Decimal("0.000001")]})
    rows["started_at"] = "2025-01-01"
    assert movements(rows, "2026-01-01", "2026-02-01")["opening"].tolist() == [Decimal("0.300001")]


def test_without_mrr_each_row_counts_one():
    rows = table(("A", None, 0, None), ("A", None, 0, None), ("B", None, 0, 40))
    for given_rows in (rows, rows.drop(columns="mrr")):
        assert movements(given_rows, day(31), day(59))["opening"].tolist() == [Decimal(2), Decimal(1)]


@pytest.mark.parametrize(
    ("grace", "inside", "after"),
    [(10, {}, {"expansion": Decimal(5)}), (9, {"churned": Decimal(10)}, {"expansion": Decimal(5)})],
)
def test_a_gap_that_closed_within_the_grace_carries(grace, inside, after):
    rows = table(("A", 10, 0, 40), ("A", 15, 50, None))
    assert row_of(movements(rows, day(31), day(45), grace_days=grace), "A") == inside
    assert row_of(movements(rows, day(31), day(59), grace_days=grace), "A") == after


def test_an_open_gap_is_no_revenue():
    moved = movements(table(("A", 10, 0, 40)), day(31), day(45), grace_days=30)
    assert row_of(moved, "A") == {"churned": Decimal(10)}


def test_a_return_after_the_grace_is_reactivation_and_a_first_contract_is_new():
    moved = movements(table(("A", 10, 0, 5), ("A", 12, 50, None), ("B", 7, 45, None)), day(40), day(59))
    assert row_of(moved, "A") == {"reactivation": Decimal(12)}
    assert row_of(moved, "B") == {"new": Decimal(7)}


def test_rates_move_by_fx_and_not_by_movements():
    columns = ("account_id", "mrr", "started_at", "ended_at", "currency")
    rows = table(("A", 100, 0, None, "USD"), ("B", 50, 0, None, "EUR"), ("A", 10, 40, None, "EUR"), columns=columns)
    rates = table(("USD", 31, "0.9"), ("USD", 59, "0.8"), columns=("currency", "date", "rate"))
    moved = movements(rows, day(31), day(59), fx=rates)
    assert row_of(moved, "A") == {"expansion": Decimal(10), "fx": Decimal(-10)}
    assert moved["opening"].tolist() == [Decimal(90), Decimal(50)]
    assert moved["closing"].tolist() == [Decimal(90), Decimal(50)]
    following = movements(rows, day(59), day(90), fx=rates)
    assert following["opening"].tolist() == moved["closing"].tolist()


def test_two_currencies_without_rates_are_refused():
    rows = table(
        ("A", 1, 0, None, "USD"), ("B", 1, 0, None, "EUR"), columns=("account_id", "mrr", "started_at", "ended_at", "currency")
    )
    with pytest.raises(ValueError, match=r"2 currencies without a rate \(EUR, USD\)"):
        movements(rows, day(31), day(59))
    late = table(("USD", 50, "0.9"), columns=("currency", "date", "rate"))
    with pytest.raises(ValueError, match="no rate of USD at 2026-02-01"):
        movements(rows, day(31), day(59), fx=late)


def test_bad_arguments_are_named():
    rows = table(("A", 1, 0, None))
    with pytest.raises(ValueError, match="start must be before end"):
        movements(rows, day(9), day(9))
    with pytest.raises(ValueError, match="column 'started_at' is missing"):
        movements(rows.drop(columns="started_at"), day(0), day(9))
    with pytest.raises(ValueError, match="column 'started_at' cannot be read"):
        movements(rows.assign(started_at="soon"), day(0), day(9))


def test_empty_and_never_started():
    rows = table(("A", 1, None, None))
    assert movements(rows, day(0), day(9)).empty
    nothing = movements(rows.iloc[:0], day(0), day(9))
    assert company_metrics(nothing)["opening_mrr"] == 0
    assert company_metrics(nothing)["nrr"] is None


def test_one_key_means_versions_only_where_there_is_recorded_at():
    rows = table(("A", 10, 0, None), ("A", 10, 0, None))
    assert movements(rows, day(1), day(2))["opening"].tolist() == [Decimal(20)]
    assert movements(rows.assign(recorded_at=pd.NaT), day(1), day(2))["opening"].tolist() == [Decimal(10)]


def test_mrr_at_reads_only_what_was_recorded_before():
    columns = ("account_id", "subscription_id", "mrr", "started_at", "ended_at", "recorded_at")
    rows = table(("A", "s", 10, 0, None, 0), ("A", "s", 30, 0, 20, 12), columns=columns)
    spine = table(*(("A", at) for at in (25, 20, 13, 12, 1, 0)), ("Z", 9), columns=("account_id", "as_of")).set_index(
        np.arange(7)[::-1]
    )
    found = mrr_at(rows, spine)
    assert found.index.tolist() == spine.index.tolist()
    assert [int(value) for value in found] == [0, 30, 30, 10, 10, 0, 0]


ROWS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.integers(0, 60), st.none() | st.integers(0, 70)),
    max_size=8,
)


def slow_mrr(rows, grace, at):
    """MRR just before `at`, day by day: days without a row take the day before if the gap closed within the grace."""
    held = None
    for number in range(at + 1):
        running = [mrr for _, mrr, start, end in rows if start < number and (end is None or end >= number)]
        closes = [start for _, _, start, end in rows if start >= number and (end is None or end > start)]
        opened = [end for _, _, start, end in rows if end is not None and start < end < number]
        if running:
            held = sum(running)
        elif not (closes and opened and min(closes) - max(opened) <= grace):
            held = 0
    return held or 0


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, grace=st.sampled_from([0, 5, 30]), start=st.integers(1, 60), length=st.integers(1, 30), seed=st.randoms())
def test_movements_agree_with_the_reference_and_reconcile(rows, grace, start, length, seed):
    end = start + length
    moved = movements(table(*rows), day(start), day(end), grace_days=grace)
    expected = {}
    for account in sorted({row[0] for row in rows}):
        mine = [row for row in rows if row[0] == account]
        opening, closing = slow_mrr(mine, grace, start), slow_mrr(mine, grace, end)
        if opening or closing:
            expected[account] = (opening, closing)
    assert {a: (int(o), int(c)) for a, o, c in moved[["account_id", "opening", "closing"]].itertuples(index=False)} == expected
    assert (moved["opening"] + sum(moved[n] for n in GAINS) - sum(moved[n] for n in LOSSES) == moved["closing"]).all()
    assert ((moved[[*GAINS, *LOSSES]] > 0).sum(axis=1) <= 1).all()
    shuffled = list(rows)
    seed.shuffle(shuffled)
    pd.testing.assert_frame_equal(movements(table(*shuffled), day(start), day(end), grace_days=grace), moved)
