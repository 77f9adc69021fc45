"""Reliability by tenths and by segment: what comes true, how sure that is, and nobody left out."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from training import metrics
from training.intervals import gap_interval
from training.reliability import by_segment, reliability_bins

FIGURES = {f"{name}{end}" for name in ("ratio", "log_loss", "ece") for end in ("", "_low", "_high")}


def company(accounts: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that follow the probabilities, four rows an account."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(accounts), 4)
    p = expit(rng.normal(-2, 1, len(of)))
    return (rng.random(len(of)) < p).astype(int), p, of


# Bins


def test_bins_are_those_of_the_calibration_error() -> None:
    y, p, accounts = company()
    bins = reliability_bins(y, p, accounts, draws=50, seed=1)
    assert list(bins.columns) == ["rows", "mean_p", "rate", "rate_low", "rate_high"]
    assert bins["rows"].tolist() == [160] * 10
    gaps = bins["rows"] * (bins["mean_p"] - bins["rate"])
    assert gaps.abs().sum() / len(y) == pytest.approx(metrics.ece(y, p))
    assert bins["mean_p"].is_monotonic_increasing
    assert (bins["rate_low"] <= bins["rate"]).all()
    assert (bins["rate"] <= bins["rate_high"]).all()
    assert ((bins["rate_low"] <= bins["mean_p"]) & (bins["mean_p"] <= bins["rate_high"])).sum() >= 8


def test_bins_do_not_depend_on_the_order_of_rows() -> None:
    y, p, accounts = company(50)
    order = np.random.default_rng(1).permutation(len(y))
    p = np.round(p, 1)
    shuffled = reliability_bins(y[order], p[order], accounts[order], draws=20, seed=2)
    pd.testing.assert_frame_equal(shuffled, reliability_bins(y, p, accounts, draws=20, seed=2), check_exact=True)


def test_a_bin_without_an_outcome_is_as_sure_as_its_accounts_are_many() -> None:
    y, p = np.r_[np.zeros(60), np.tile([0, 1], 30)], np.r_[np.full(60, 0.01), np.full(60, 0.5)]
    few = reliability_bins(y, p, np.r_[np.arange(60) // 6, 100 + np.arange(60)], bins=2, draws=20, seed=1)
    many = reliability_bins(y, p, np.arange(120), bins=2, draws=20, seed=1)
    assert (few["rate_low"][0], many["rate_low"][0]) == (0, 0)
    assert few["rate_high"][0] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert many["rate_high"][0] == pytest.approx(1 - 0.025 ** (1 / 60))
    assert reliability_bins(1 - y, p, np.arange(120), bins=2, draws=20, seed=1)["rate_low"][0] == pytest.approx(0.025 ** (1 / 60))


def test_fewer_rows_than_bins_are_a_bin_each() -> None:
    bins = reliability_bins([0, 1, 1], [0.1, 0.2, 0.2], ["a", "a", "b"], draws=20, seed=1)
    assert bins["rows"].tolist() == [1, 1, 1]
    assert bins["rate"].tolist() == [0, 1, 1]
    assert bins.notna().all(axis=None)


# Segments


def test_every_segment_is_listed_and_each_row_counts_once_a_column() -> None:
    y, p, accounts = company()
    tenure = pd.Series(pd.Categorical(np.where(accounts % 3 == 0, "old", "new"), ["old", "new"], ordered=True))
    plan = pd.Series(np.where(accounts < 10, "trial", np.where(accounts < 200, "basic", "pro")), dtype=object)
    plan[accounts >= 395] = None
    records = by_segment(y, p, accounts, pd.DataFrame({"tenure": tenure, "plan": plan}), draws=50, seed=1)
    told = [(record["segment"], record["value"], record["evidence"] == "enough") for record in records]
    assert told == [
        *[("tenure", "old", True), ("tenure", "new", True)],
        *[("plan", "basic", True), ("plan", "pro", True), ("plan", "trial", False), ("plan", None, False)],
    ]
    for name in ("tenure", "plan"):
        counts = [(r["rows"], r["accounts"], r["positives"]) for r in records if r["segment"] == name]
        assert np.sum(counts, axis=0).tolist() == [len(y), 400, y.sum()]
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_a_segment_has_the_figures_of_its_own_rows() -> None:
    y, p, accounts = company()
    part = accounts < 150
    record = by_segment(y, p, accounts, pd.DataFrame({"half": np.where(part, "a", "b")}), draws=100, seed=1)[0]
    assert record["base_rate"] == y[part].mean()
    assert record["mean_p"] == pytest.approx(p[part].mean())
    assert record["ratio"] == pytest.approx(y[part].sum() / p[part].sum())
    alone = metrics.evaluate(y[part], p[part], accounts[part], draws=100, seed=1)
    for name in FIGURES - {"ratio", "ratio_low", "ratio_high"}:
        assert record[name] == alone[name]


def test_a_segment_told_wrong_stands_out() -> None:
    y, p, accounts = company()
    low = np.where(accounts % 2 == 0, p / 2, p)
    wrong, right = by_segment(y, low, accounts, pd.DataFrame({"parity": accounts % 2}), draws=200, seed=1)
    assert wrong["ratio_low"] > 1.4
    assert right["ratio_low"] < 1 < right["ratio_high"]


@pytest.mark.parametrize(
    ("accounts", "positive", "evidence"),
    [(30, 5, "enough"), (29, 5, "not enough evidence"), (30, 4, "not enough evidence"), (200, 0, "not enough evidence")],
)
def test_evidence_is_counted_in_accounts(accounts: int, positive: int, evidence: str) -> None:
    of = np.repeat(np.arange(accounts), 10)
    y = (of < positive).astype(int)
    record = by_segment(y, np.full(len(of), 0.2), of, pd.DataFrame({"plan": "pro"}, index=range(len(of))), draws=20, seed=1)[0]
    assert record["evidence"] == evidence
    assert (record["rows"], record["accounts"], record["positives"]) == (10 * accounts, accounts, 10 * positive)
    assert {name for name in FIGURES if record[name] is None} == (set() if evidence == "enough" else FIGURES)


def test_segments_do_not_depend_on_the_order_of_rows() -> None:
    y, p, accounts = company(100)
    segments = pd.DataFrame({"plan": np.where(accounts < 50, "a", "b")})
    order = np.random.default_rng(1).permutation(len(y))
    shuffled = by_segment(y[order], p[order], accounts[order], segments.iloc[order], draws=20, seed=2)
    assert shuffled == by_segment(y, p, accounts, segments, draws=20, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_segment([0, 1], [0, 1], [1, 2], pd.DataFrame({"a": [1]}), seed=1), "segments has 1 rows but y has 2"),
        (lambda: by_segment([0, 1], [0, 2], [1, 2], pd.DataFrame({"a": [1, 1]}), seed=1), "p is 2.0 in row 1"),
        (lambda: reliability_bins([0, 1], [0, 1], [1], seed=1), "accounts has 1 values for 2 rows"),
        (lambda: reliability_bins([0, 1], [0, 1], [1, 2], bins=0, seed=1), "bins is 0"),
    ],
)
def test_bad_input_is_refused_by_name(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# The interval of a sum of sizes


def test_noise_alone_is_no_gap() -> None:
    rng = np.random.default_rng(3)
    spread = np.full(10, 0.004)
    held = 0
    for _ in range(200):
        gaps = rng.normal(0, spread)
        low, high = gap_interval(gaps, gaps + rng.normal(0, spread, (300, 10)))
        assert low <= np.abs(gaps).sum() <= high
        held += low == 0
    assert held >= 190  # 97.5 % promised


@pytest.mark.parametrize("true", [np.full(10, 0.01), np.r_[np.zeros(9), -0.1], np.tile([0.004, -0.004], 5)])
def test_a_gap_is_held_as_often_as_promised(true: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        gaps = rng.normal(true, 0.004)
        low, high = gap_interval(gaps, gaps + rng.normal(0, 0.004, (300, 10)))
        held += low <= np.abs(true).sum() <= high
    assert held >= 0.92 * 300


def test_a_gap_far_above_the_noise_is_seen() -> None:
    gaps = np.full(10, 0.01)
    low, high = gap_interval(gaps, gaps + np.random.default_rng(5).normal(0, 0.001, (300, 10)))
    assert 0.09 < low < 0.1 < high < 0.11


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([-0.2, -1e-3, 0.0, 1e-9, 0.05]), min_size=10, max_size=10).map(np.array),
    st.lists(st.sampled_from([0.0, 1e-15, 1e-6, 1e-3, 0.1]), min_size=10, max_size=10).map(np.array),
    st.integers(1, 60),
)
def test_the_interval_holds_the_estimate_whatever_the_noise(gaps: np.ndarray, spread: np.ndarray, draws: int) -> None:
    low, high = gap_interval(gaps, gaps + np.random.default_rng(6).normal(0, spread, (draws, 10)))
    estimate = np.abs(gaps).sum()
    assert 0 <= low <= estimate * (1 + 1e-12) <= high * (1 + 2e-12)
