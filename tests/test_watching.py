"""Watching: nothing is raised where nothing drifted, a planted drift is raised at once, and promises are held against labels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from models.calibration import Platt, Precision
from models.linear import LinearModel, Term
from models.outcome import OutcomeModel
from models.profile import Profile
from training.expected import performance, shortfalls
from training.watching import (
    LARGE,
    SCORE,
    Drift,
    DriftReport,
    WatchSettings,
    drift,
    ordinary,
    retraining,
    stability_index,
    watched_dates,
)

FloatArray = np.ndarray
COLUMNS = ("use", "tenure", "tickets", "survey", "spend")
#: The table that each column would come from.
SOURCES = {"use": "usage", "tenure": "subscriptions", "tickets": "tickets", "survey": "surveys", "spend": "invoices"}
MODEL = OutcomeModel(
    "expansion",
    90,
    LinearModel(
        COLUMNS,
        -3.0,
        (
            Term("use", -3.0, 3.0, fill=0.0, mean=0.5, coefficient=-2.0),
            Term("tenure", 0.0, 1500.0, fill=300.0, mean=0.4, coefficient=-0.3),
            Term("tickets", 0.0, 3.0, fill=0.0, mean=0.1, coefficient=1.0),
            Term("survey", 0.0, 10.0, fill=7.0, mean=0.7, coefficient=-1.0),
            Term("spend", 0.0, 200.0, fill=50.0, mean=0.3, coefficient=0.3),
        ),
    ),
    Platt(),
    Precision((), (9,)),
    {90: 0.05},
)
MONTHS = 12


@dataclass(frozen=True)
class World:
    """A company of the same accounts at month starts: `frame` and `spine` of all of them, months · accounts rows."""

    frame: pd.DataFrame
    spine: pd.DataFrame

    def month(self, number: int) -> pd.DataFrame:
        at = self.spine["as_of"].unique()[number]
        return self.frame[self.spine["as_of"] == at].reset_index(drop=True)


def world(seed: int, accounts: int = 400, months: int = MONTHS + 4) -> World:
    """Accounts with habits of their own, a clock that runs, rare tickets, few surveys, skewed spending with a season."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2024-06-01", periods=months, freq="MS")
    habit, start, spend = rng.normal(size=accounts), rng.uniform(0, 700, accounts), rng.lognormal(3.5, 0.8, accounts)
    frames = []
    for number, date in enumerate(dates):
        season = 1 + 0.3 * np.sin(2 * np.pi * date.month / 12)
        frames.append(
            pd.DataFrame(
                {
                    "use": 0.8 * habit + 0.6 * rng.normal(size=accounts),
                    "tenure": start + 30.4 * number,
                    "tickets": rng.poisson(0.15, accounts).astype(float),
                    "survey": np.where(rng.random(accounts) < 0.3, rng.integers(0, 11, accounts), np.nan),
                    "spend": spend * season * rng.lognormal(0, 0.1, accounts),
                }
            )
        )
    spine = pd.DataFrame({"as_of": dates}).merge(pd.DataFrame({"account_id": [f"a{k}" for k in range(accounts)]}), how="cross")
    return World(pd.concat(frames, ignore_index=True), spine)


def learnt(company: World, months: int = MONTHS) -> Profile:
    """The profile of a model that was fitted on the first months."""
    rows = (company.spine["as_of"] < company.spine["as_of"].unique()[months]).to_numpy()
    frame, spine = company.frame[rows], company.spine[rows]
    p = MODEL.probability(frame)
    y = np.random.default_rng(0).random(len(p)) < p
    return Profile.of(MODEL, frame, spine, y, pd.DataFrame({"as_of": spine["as_of"], "p": p}))


def watch(profile: Profile, frame: pd.DataFrame, p: FloatArray | None = None, months_later: int = 1, **asked: Any) -> DriftReport:
    return drift(
        profile,
        frame,
        MODEL.probability(frame) if p is None else p,
        as_of=pd.Timestamp(profile.learnt_to) + pd.DateOffset(months=months_later),
        accounts=[f"a{k}" for k in range(len(frame))],
        sources=SOURCES,
        **asked,
    )


def column(found: DriftReport, name: str) -> Drift:
    return next(each for each in found.columns if each.feature == name)


@pytest.fixture(scope="module")
def company() -> World:
    return world(seed=0)


@pytest.fixture(scope="module")
def profile(company: World) -> Profile:
    return learnt(company)


# --- drift -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [60, 300])
def test_without_drift_nothing_is_raised(accounts: int) -> None:
    """In at least 95 of 100 companies, though a season turns, a clock runs, and labels take four months to mature."""
    raised = []
    for seed in range(100):
        company = world(seed, accounts)
        found = watch(learnt(company), company.month(MONTHS + 3), months_later=4)
        raised += [seed] if found.raised else []
    assert len(raised) <= 5, raised


def half_a_deviation(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(use=frame["use"] + 0.5 * frame["use"].std())


def missing(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(use=np.nan)


def cents(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(spend=frame["spend"] * 100)


def rare_grow(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(tickets=frame["tickets"] + (np.arange(len(frame)) % 4 == 0))


@pytest.mark.parametrize(
    ("planted", "source", "accounts"),
    [
        (half_a_deviation, "usage", 400),
        (half_a_deviation, "usage", 2_000),
        (missing, "usage", 60),
        (cents, "invoices", 60),
        (rare_grow, "tickets", 400),
    ],
)
def test_a_planted_drift_is_raised_within_one_period(planted: Any, source: str, accounts: int) -> None:
    """In the first month that shows it, in at least 9 of 10 companies, by the name of its source."""
    caught = 0
    for seed in range(10):
        company = world(seed, accounts)
        found = watch(learnt(company), planted(company.month(MONTHS)))
        caught += found.raised and any(reason.startswith(f"{source}: 1 input moved") for reason in found.reasons)
    assert caught >= 9


def test_predictions_that_shift_are_raised_though_no_input_moved(company: World, profile: Profile) -> None:
    frame = company.month(MONTHS)
    found = watch(profile, frame, expit(logit(MODEL.probability(frame)) + 1.0))
    assert found.raised
    assert [each.feature for each in found.columns if each.level == "large"] == [SCORE]
    assert found.reasons[0].startswith("The predictions lie unlike any month that the model learnt from")


def test_a_missing_source_is_called_that(company: World, profile: Profile) -> None:
    found = watch(profile, missing(company.month(MONTHS)))
    [told] = [reason for reason in found.reasons if reason.startswith("usage")]
    assert "missing 0% then and 100% now" in told
    assert "Check whether this source still comes in" in told
    lacking = watch(profile, company.month(MONTHS).drop(columns="use"), MODEL.probability(missing(company.month(MONTHS))))
    assert column(lacking, "use") == column(found, "use"), "a column that is not there is missing throughout"


def test_what_hardly_moves_the_predictions_is_told_and_not_raised(company: World, profile: Profile) -> None:
    light = replace(profile, weights=profile.weights | {"spend": 0.002})
    frame = company.month(MONTHS)
    found = watch(light, cents(frame), MODEL.probability(frame))
    assert column(found, "spend").level == "large"
    assert not found.raised
    assert found.reasons[-1] == "Together they carry less than 1% of what moves the predictions: no alarm."


def test_too_few_accounts_say_so_and_raise_nothing(company: World, profile: Profile) -> None:
    found = watch(profile, missing(company.month(MONTHS)[:49]))
    assert (found.raised, found.accounts) == (False, 49)
    assert found.reasons == ["Not enough rows to tell: 49 accounts, and at least 50 are needed to speak of drift."]
    assert {each.level for each in found.columns} == {"unknown"}
    assert watch(profile, missing(company.month(MONTHS)[:50])).raised
    assert not watch(profile, missing(company.month(MONTHS)[:50]), minimum=51).raised
    assert watch(profile, company.month(MONTHS)[:0]).reasons[0].startswith("Not enough rows to tell: 0 accounts")


def test_accounts_count_and_not_rows(company: World, profile: Profile) -> None:
    frame = pd.concat([company.month(MONTHS)[:40]] * 10, ignore_index=True)
    at = pd.Timestamp(profile.learnt_to) + pd.DateOffset(months=1)
    found = drift(profile, frame, MODEL.probability(frame), as_of=at, accounts=np.tile(np.arange(40), 10))
    assert (found.accounts, found.raised) == (40, False)
    assert column(found, "use").rows == 400


def test_fewer_accounts_raise_the_bar_and_not_alarms(profile: Profile, company: World) -> None:
    frame = company.month(MONTHS)
    bars = [column(watch(profile, frame[:count]), "survey").threshold for count in (50, 100, 400)]
    assert bars[0] > bars[1] > bars[2] >= LARGE


def test_a_running_clock_is_ordinary_and_a_leap_of_it_is_not(company: World, profile: Profile) -> None:
    later = company.month(MONTHS + 3)
    assert column(watch(profile, later, months_later=4), "tenure").level in ("none", "moderate")
    leapt = later.assign(tenure=later["tenure"] + 600)
    assert column(watch(profile, leapt, months_later=4), "tenure").level == "large"


def test_a_season_of_the_year_before_is_ordinary() -> None:
    """Half a deviation up each December: raised the first time, and not the second."""
    frame, spine = (each.copy() for each in (world(3, months=20).frame, world(3, months=20).spine))
    december = spine["as_of"].dt.month == 12
    frame.loc[december, "use"] += 1.5
    company = World(frame, spine)
    assert watch(learnt(company, 6), company.month(6)).raised
    assert not watch(learnt(company, 18), company.month(18)).raised


def test_lengths_must_agree(profile: Profile, company: World) -> None:
    with pytest.raises(ValueError, match="400, 399 and 400 rows"):
        watch(profile, company.month(MONTHS), np.full(399, 0.1))


counts = st.lists(st.integers(0, 500), min_size=2, max_size=8).filter(lambda found: sum(found) > 0)


@given(counts)
def test_the_index_of_equal_shares_is_only_the_correction(found: list[int]) -> None:
    now = np.array(found)
    index, bins = stability_index(now, now[None, :])
    assert index[0] == pytest.approx(-(bins - 1) * 2 / now.sum())


@given(st.data())
def test_the_index_does_not_know_then_from_now_and_is_finite(data: st.DataObject) -> None:
    now = np.array(data.draw(counts))
    then = np.array(data.draw(st.lists(st.integers(0, 500), min_size=len(now), max_size=len(now)).filter(lambda n: sum(n) > 0)))
    forth, back = stability_index(now, then[None, :])[0][0], stability_index(then, now[None, :])[0][0]
    assert np.isfinite(forth)
    assert forth == pytest.approx(back)


def test_without_drift_the_index_is_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    draws = rng.multinomial(500, np.full(10, 0.1), size=(400, 2))
    index = [stability_index(now, then[None, :])[0][0] for now, then in draws]
    assert abs(np.mean(index)) < 3 * np.std(index) / 20 + 0.001


def test_one_date_has_no_ordinary_change() -> None:
    assert ordinary(np.array([[5, 5]]), 3) == 0.0


# --- promises and labels ---------------------------------------------------------------------------------------------


def scored(seed: int, rows: int, *, months: int = 1, distort: float = 0.0) -> pd.DataFrame:
    """Probabilities, and labels drawn from them after `distort` was added to their logits."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 12, (months, rows)).ravel()
    labels = (rng.random(len(p)) < expit(logit(p) + distort)).astype(float)
    dates = pd.date_range("2026-01-01", periods=months, freq="MS")
    return pd.DataFrame({"as_of": np.repeat(dates, rows), "p": p, "label": labels, "fit": "served", "learnt": False})


@pytest.mark.parametrize("rows", [200, 2_000])
def test_of_calibrated_predictions_the_real_figures_lie_where_they_were_expected(rows: int) -> None:
    """Of 60 months, 95 % intervals: at least 53 hold the real figure (a chance of 1 in 100 to fail with true intervals)."""
    held = dict.fromkeys(("auc", "positives", "log_loss", "lift_top_decile"), 0)
    off = []
    for seed in range(60):
        [month] = performance(scored(seed, rows), seed=seed, draws=100)
        for name in held:
            held[name] += month[f"expected_{name}_low"] <= month[f"real_{name}"] <= month[f"expected_{name}_high"]
        off.append(month["real_auc"] - month["expected_auc"])
    assert min(held.values()) >= 53, held
    assert abs(np.mean(off)) < 0.015


def test_before_labels_mature_there_is_only_the_promise_and_the_real_one_stands_beside_it_after() -> None:
    rows = scored(0, 500, months=3)
    rows.loc[rows["as_of"] == "2026-03-01", "label"] = None
    told = performance(rows.assign(learnt=rows["as_of"] == "2026-01-01"))
    assert [(month["as_of"][:7], month["mature"], month["learnt"]) for month in told] == [
        ("2026-01", True, True),
        ("2026-02", True, False),
        ("2026-03", False, False),
    ]
    assert [month["real_auc"] is None for month in told] == [True, False, True]
    assert all(month["expected_auc"] is not None for month in told)


def test_expected_and_real_are_of_the_same_rows() -> None:
    rows = scored(0, 500)
    rows.loc[:99, "label"] = None  # as of accounts that churned, of which contraction says nothing
    [month] = performance(rows)
    assert month["rows"] == 400
    assert month["expected_positives"] == pytest.approx(rows["p"][100:].sum(), abs=2)


def test_figures_that_cannot_be_given_are_none() -> None:
    rows = scored(0, 2).assign(p=0.0, label=0.0)
    [month] = performance(rows)
    assert (month["expected_auc"], month["real_auc"], month["expected_positives"], month["real_positives"]) == (None, None, 0, 0)
    assert shortfalls([month]) == []
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        performance(rows.assign(p=1.5))


def test_a_shortfall_is_told_of_the_newest_month_alone() -> None:
    good, bad = scored(0, 3_000), scored(1, 3_000, distort=1.2)
    bad["as_of"] = pd.Timestamp("2026-02-01")
    months = performance(pd.concat([good, bad]))
    assert shortfalls(months[:1]) == []
    [told] = shortfalls(months)
    assert told.startswith("Of the 3000 accounts of 2026-02-01")
    shuffled = good.assign(label=np.random.default_rng(0).permutation(good["label"]))
    [told] = shortfalls(performance(shuffled))
    assert told.startswith("On the accounts of 2026-01-01 the AUC turned out 0.")
    assert shortfalls(performance(shuffled.assign(learnt=True))) == [], "the model had learnt these"
    assert shortfalls(performance(shuffled.assign(fit="tested"))) == [], "its gate has judged that fit"


def test_a_difference_that_no_one_would_act_on_is_none() -> None:
    [month] = performance(scored(2, 200_000, distort=0.05), draws=50)
    assert not month["expected_positives_low"] <= month["real_positives"] <= month["expected_positives_high"]
    assert shortfalls([month]) == []


# --- when to train again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "age", "alarms", "due"),
    [
        ({}, None, [], True),
        ({}, 29, [], False),
        ({}, 30, [], True),
        ({}, 8, ["usage moved."], True),
        ({}, 6, ["usage moved."], False),
        ({"wait_days": 0}, 0, ["usage moved."], True),
        ({"on_drift": False}, 8, ["usage moved."], False),
        ({"every_days": 90}, 60, [], False),
    ],
)
def test_training_is_due_by_schedule_or_by_alarm(settings: dict[str, Any], age: int | None, alarms: list[str], due: bool) -> None:
    found = retraining(WatchSettings(**settings), age, alarms)
    assert found.due is due
    assert found.why


def test_each_horizon_has_a_month_that_has_matured() -> None:
    starts = pd.date_range("2025-01-01", "2026-07-01", freq="MS")
    found = watched_dates(starts, pd.Timestamp("2026-07-01"), [90, 90], grace_days=30, months=6)
    assert found.strftime("%m").tolist() == ["02", "03", "04", "05", "06", "07"], "the matured one is among the newest six"
    assert watched_dates(starts[-2:], pd.Timestamp("2026-07-01"), [90], grace_days=30, months=6).size == 2
