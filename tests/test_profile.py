"""The reference profile: bins that keep what moves visible, counts by date, and its text."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import Platt, Precision
from models.linear import LinearModel, Term
from models.outcome import OutcomeModel
from models.profile import BINS, KEPT_DATES, Profile, Spread, cuts, monthly

COLUMNS = ("use", "seats")
VALUES = st.lists(st.one_of(st.floats(-1e6, 1e6), st.integers(0, 3).map(float), st.just(float("nan"))), max_size=80)


def model(use: float = -1.0, seats: float = 0.0) -> OutcomeModel:
    terms = (
        Term("use", 0.0, 1.0, fill=0.5, mean=0.5, coefficient=use),
        Term("seats", 0.0, 9.0, fill=4.0, mean=0.5, coefficient=seats),
    )
    return OutcomeModel("expansion", 90, LinearModel(COLUMNS, -1.0, terms), Platt(), Precision((), (9,)), {90: 0.2})


def rows(months: int, accounts: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and spine of the same accounts at so many month starts."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2025-01-01", periods=months, freq="MS")
    spine = pd.DataFrame({"as_of": dates}).merge(pd.DataFrame({"account_id": [f"a{k}" for k in range(accounts)]}), how="cross")
    return pd.DataFrame({"use": rng.random(len(spine)), "seats": rng.integers(0, 9, len(spine)).astype(float)}), spine


def profile(months: int = 6, **changed: float) -> Profile:
    frame, spine = rows(months)
    fitted = model(**changed)
    predicted = pd.DataFrame({"as_of": spine["as_of"], "p": fitted.probability(frame)})
    return Profile.of(fitted, frame, spine, (np.arange(len(frame)) % 5 == 0).astype(float), predicted)


@given(VALUES, st.integers(2, BINS))
def test_every_value_has_one_bin_and_equal_values_the_same(values: list[float], bins: int) -> None:
    edges = cuts(values, bins)
    assert np.all(np.diff(edges) > 0)
    assert len(edges) <= bins + 1
    spread = Spread(tuple(edges), ())
    counts = spread.count(np.array(values, dtype=float))
    assert counts.sum() == len(values)
    assert counts[-1] == np.isnan(np.array(values, dtype=float)).sum()


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=BINS, max_size=200, unique=True))
def test_bins_of_distinct_values_hold_about_the_same(values: list[float]) -> None:
    counts = Spread(tuple(cuts(values)), ()).count(np.array(values))[:-1]
    assert len(counts) == BINS
    assert counts.max() - counts.min() <= 1


def test_what_moves_among_the_few_that_are_not_zero_stays_visible() -> None:
    rare = np.concatenate([np.zeros(950), np.arange(1.0, 51.0)])
    spread = Spread(tuple(cuts(rare)), ())
    assert np.array_equal(spread.count(rare)[:2], [0, 950]), "below zero there is nothing, and zero has a bin of its own"
    assert not np.array_equal(spread.count(rare), spread.count(rare * 100))
    assert spread.count(rare - 0.5)[0] == 950


def test_dates_stand_a_month_apart_and_the_newest_is_kept() -> None:
    daily = pd.date_range("2025-01-01", "2025-06-30", freq="D")
    kept = monthly(daily)
    assert kept[-1] == np.datetime64("2025-06-30")
    assert np.all(np.diff(kept) >= np.timedelta64(28, "D"))
    starts = pd.date_range("2024-01-01", periods=30, freq="MS")
    assert list(monthly(starts)) == list(starts.to_numpy()), "no month's first is passed over, February's length notwithstanding"


def test_rows_are_counted_at_their_dates() -> None:
    found = profile(months=6)
    assert found.dates[0] == "2025-01-01T00:00:00"
    assert found.learnt_to == found.dates[-1] == "2025-06-01T00:00:00"
    assert (found.rows, found.accounts, found.base_rate) == (240, 40, 0.2)
    for spread in (*found.inputs.values(), found.score):
        assert spread.table.sum(axis=1).tolist() == [40] * 6
        assert spread.table[:, -1].sum() == 0


def test_rows_whose_horizon_is_open_count_as_learnt_and_not_in_the_base_rate() -> None:
    frame, spine = rows(2)
    y = np.where(spine["as_of"] == "2025-02-01", np.nan, 0.0)
    y[:10] = 1.0
    found = Profile.of(model(), frame, spine, y, pd.DataFrame({"as_of": spine["as_of"], "p": 0.1}))
    assert (found.rows, found.base_rate, found.learnt_to) == (80, 0.25, "2025-02-01T00:00:00")


def test_two_years_are_kept_and_predictions_may_be_of_other_dates() -> None:
    frame, spine = rows(KEPT_DATES + 6)
    later = pd.DataFrame({"as_of": pd.to_datetime(["2027-07-01"] * 30), "p": 0.1})
    found = Profile.of(model(), frame, spine, np.zeros(len(frame)), later)
    assert len(found.dates) == KEPT_DATES
    assert found.learnt_to == "2027-06-01T00:00:00"
    assert found.score.table.sum(axis=1).tolist() == [0] * (KEPT_DATES - 1) + [30]
    assert found.inputs["use"].table.sum(axis=1).tolist() == [40] * (KEPT_DATES - 1) + [0]


def test_weights_are_shares_of_what_moves_the_margin() -> None:
    assert profile(use=-1.0, seats=0.0).weights == {"use": 1.0, "seats": 0.0}
    both = profile(use=-1.0, seats=1.0).weights
    assert sum(both.values()) == pytest.approx(1.0)
    assert both["use"] == pytest.approx(0.5, abs=0.1)
    assert profile(use=0.0, seats=0.0).weights == {"use": 0.0, "seats": 0.0}


def test_the_text_gives_the_profile_back() -> None:
    found = profile()
    assert Profile.from_json(found.to_json()) == found
    assert Profile.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_the_text_names_no_account() -> None:
    _, spine = rows(6)
    text = profile().to_json()
    assert not [account for account in spine["account_id"].unique() if f'"{account}"' in text]


def test_another_text_is_refused_by_what_differs() -> None:
    stored = profile().as_dict()
    del stored["weights"]
    with pytest.raises(ValueError, match="this one differs in colour, weights"):
        Profile.from_dict(stored | {"colour": "red"})


def test_lengths_must_agree() -> None:
    frame, spine = rows(2)
    predicted = pd.DataFrame({"as_of": spine["as_of"], "p": 0.1})
    with pytest.raises(ValueError, match="80, 80 and 79 rows"):
        Profile.of(model(), frame, spine, np.zeros(79), predicted)
    with pytest.raises(ValueError, match="0, 0 and 0 rows"):
        Profile.of(model(), frame[:0], spine[:0], [], predicted)
    with pytest.raises(ValueError, match="one of them labelled at least"):
        Profile.of(model(), frame, spine, np.full(80, np.nan), predicted)
