"""Every kind of model keeps one contract: pure, indifferent to the frame's shape, reproducible, explained to the last bit."""

import json
from functools import cache
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from features.catalogue import catalog
from models.booster import BoosterSettings, fit_booster
from models.calibration import Platt, Precision
from models.hazard import CARRIED, STEP_COLUMNS, step_count
from models.labels import Outcome
from models.linear import LinearModel
from models.outcome import OutcomeModel
from training.fit import Kind, fit_outcome
from training.rows import Rows
from training.settings import Task

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
KINDS: tuple[Kind, ...] = get_args(Kind)
EVERY = list(product(OUTCOMES, KINDS))
BOOSTERS = [(outcome, "booster") for outcome in OUTCOMES]
PRODUCT_FEATURES = ("create lead",)
DIRECTIONS = {name: feature.direction for name, feature in catalog(PRODUCT_FEATURES).items()}
GRACE, HORIZON = 30, 90
ACCOUNTS, MONTHS = 80, 12

every_model = pytest.mark.parametrize(("outcome", "kind"), EVERY)


def _frame() -> pd.DataFrame:
    rng, rows = np.random.default_rng(7), ACCOUNTS * MONTHS
    frame = pd.DataFrame(
        {
            "days_since_last_use": rng.exponential(10, rows).round(),
            "tenure_days": rng.uniform(0, 900, rows),
            "mrr": np.exp(rng.normal(6, 1, rows)),
            "days_to_renewal": rng.uniform(0, 365, rows),
            "days_to_notice_deadline": rng.uniform(-60, 300, rows),
            "term_months": rng.choice([1.0, 12.0], rows),
            "products": rng.integers(1, 6, rows).astype(float),
            "price_change_365d": rng.normal(0, 0.2, rows),
            "use_of_create_lead_90d": rng.poisson(3, rows).astype(float),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.1)


FRAME = _frame()


def _rows(outcome: Outcome) -> Rows:
    """Labels that follow recency, and run against the direction of `products` and of `price_change_365d`."""
    rng = np.random.default_rng(11)
    known = FRAME.fillna(FRAME.median())
    margin = 0.15 * known["days_since_last_use"] + 0.8 * (known["products"] - 3) - 4 * known["price_change_365d"] - 3.5
    sign = -1 if outcome == "expansion" else 1
    p = 1 / (1 + np.exp(-(sign * (margin + 1) - 1)))
    as_of = pd.Series(np.tile(pd.date_range("2024-01-01", periods=MONTHS, freq="MS"), ACCOUNTS)).astype("datetime64[us]")
    known_until = pd.Timestamp("2025-06-01")
    days = pd.Series(rng.exponential(-HORIZON / np.log(1 - p * 0.9)).round(3)).clip(upper=1e4)
    leaves = as_of + pd.to_timedelta(days, unit="D").astype("timedelta64[us]")
    churn_at = leaves.where(leaves < known_until)
    timeline = pd.DataFrame(
        {
            "account_id": np.repeat([f"a{number:03}" for number in range(ACCOUNTS)], MONTHS),
            "as_of": as_of,
            "churn_at": churn_at,
            "known_until": pd.Series(known_until, index=as_of.index).astype("datetime64[us]"),
        }
    )
    y = (days < HORIZON).to_numpy(dtype=np.float64)
    return Rows(FRAME, timeline, y, np.where(y > 0, 0.2 * -sign, 0.0))


@cache
def model(outcome: Outcome, kind: Kind, seed: int = 0) -> OutcomeModel:
    return fit_outcome(
        Task(outcome=outcome, horizon_days=HORIZON),
        kind,
        _rows(outcome),
        product_features=PRODUCT_FEATURES,
        settings=BoosterSettings(rounds=20, learning_rate=0.2),
        seed=seed,
    ).model


def _same(a: OutcomeModel, b: OutcomeModel, left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Two models, or one on two frames, answer with the same bits."""
    np.testing.assert_array_equal(a.probability(left), b.probability(right))
    one, other = a.explain(left), b.explain(right)
    np.testing.assert_array_equal(one.raw_score, other.raw_score)
    np.testing.assert_array_equal(one.base_value, other.base_value)
    pd.testing.assert_frame_equal(
        one.contributions.reset_index(drop=True), other.contributions.reset_index(drop=True), check_exact=True
    )


@every_model
def test_it_learns_something(outcome: Outcome, kind: Kind) -> None:
    found, y = model(outcome, kind), _rows(outcome).y
    p = found.probability(FRAME)
    assert found.served_by == kind
    assert p[y == 1].mean() > p[y == 0].mean() + 0.05
    assert p.mean() == pytest.approx(y.mean(), abs=0.1)
    assert found.base_rates == {HORIZON: y.mean()}
    assert found.mean_change == pytest.approx(0.2)


@every_model
def test_nothing_that_it_is_given_changes(outcome: Outcome, kind: Kind) -> None:
    rows, frame = _rows(outcome), FRAME.copy(deep=True)
    before = rows.timeline.copy(deep=True), rows.y.copy(), rows.change.copy()
    found = model(outcome, kind)
    found.probability(frame)
    found.explain(frame)
    if outcome == "churn":
        found.survival(frame)
    fit_outcome(Task(outcome=outcome, horizon_days=HORIZON), kind, rows, settings=BoosterSettings(rounds=2), seed=0)
    pd.testing.assert_frame_equal(frame, _frame(), check_exact=True)
    pd.testing.assert_frame_equal(rows.frame, _frame(), check_exact=True)
    pd.testing.assert_frame_equal(rows.timeline, before[0], check_exact=True)
    np.testing.assert_array_equal(rows.y, before[1])
    np.testing.assert_array_equal(rows.change, before[2])


@every_model
def test_neither_order_nor_superfluous_columns_matter(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    mixed = FRAME[FRAME.columns[::-1]].assign(account_id="text", step=99.0, step_renewal_days=-1.0, another=np.inf)
    _same(found, found, FRAME, mixed)


@every_model
def test_a_missing_column_is_named(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    assert set(found.inputs) == set(FRAME.columns)
    for column in found.inputs:
        lacking = FRAME.drop(columns=column)
        for ask in (found.probability, found.explain):
            with pytest.raises(ValueError, match=f"the frame lacks {column}; the model was fitted on"):
                ask(lacking)


@every_model
def test_same_seed_same_bits(outcome: Outcome, kind: Kind) -> None:
    assert model.__wrapped__(outcome, kind, 0).to_files() == model(outcome, kind).to_files()


@pytest.mark.parametrize(("outcome", "kind"), BOOSTERS)
def test_another_seed_is_another_booster(outcome: Outcome, kind: Kind) -> None:
    assert model(outcome, kind, 1).to_files()["booster.txt"] != model(outcome, kind).to_files()["booster.txt"]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@every_model
def test_it_is_kept_as_text_and_comes_back_bit_for_bit(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    files = found.to_files()
    assert {*files} == {"model.json"} | ({"booster.txt", "prior-linear.json"} if kind == "booster" else {"linear.json"})
    for name, text in files.items():
        if name.endswith(".json"):
            json.loads(text, parse_constant=_refuse)
        else:
            assert text.startswith("tree\nversion=")
    again = OutcomeModel.from_files({name: text.encode().decode() for name, text in files.items()})
    assert again == found
    assert again.to_files() == files
    _same(found, again, FRAME, FRAME)
    with pytest.raises(ValueError, match=r"the model's files are model\.json; needed"):
        OutcomeModel.from_files({"model.json": files["model.json"]})


@every_model
def test_probabilities_lie_within_their_interval(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    p = found.probability(FRAME)
    low, high = found.precision.interval(p)
    assert ((low >= 0) & (low <= p) & (p <= high) & (high <= 1)).all()
    assert (low < high).all()
    narrow = found.precision.interval(p, level=0.5)
    assert ((narrow[0] >= low) & (narrow[1] <= high)).all()


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-12, 0.5, 1 - 1e-16, 1.0])
def test_the_interval_holds_even_the_impossible_and_the_certain(p: float) -> None:
    low, high = Precision((0.3,), (0, 7)).interval([p])
    assert 0 <= low[0] <= p <= high[0] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_survival_never_rises_and_holds_every_churn_probability(kind: Kind) -> None:
    found = model("churn", kind)
    survival = found.survival(FRAME)
    assert survival.shape == (len(FRAME), step_count(30)) == (len(FRAME), 12)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (np.diff(survival, axis=1) <= 0).all()
    for days in (30, 60, 90, 360):
        np.testing.assert_array_equal(found.probability(FRAME, days), 1 - survival[:, days // 30 - 1])
    np.testing.assert_array_equal(found.probability(FRAME), found.probability(FRAME, HORIZON))


@pytest.mark.parametrize("days", [0, -30, 45])
def test_a_day_that_is_no_step_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match=f"horizon_days must be a multiple of 30, got {days}"):
        model("churn", "logistic").probability(FRAME, days)


@pytest.mark.parametrize("outcome", ["contraction", "expansion"])
def test_a_direct_model_speaks_of_its_own_horizon_alone(outcome: Outcome) -> None:
    found = model(outcome, "logistic")
    with pytest.raises(ValueError, match=f"horizon_days must be 90, for which {outcome} was trained, got 30"):
        found.probability(FRAME, 30)
    with pytest.raises(ValueError, match=f"predicts {outcome}, which has no curve"):
        found.survival(FRAME)


@every_model
def test_an_account_of_which_nothing_is_known_is_scored(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    nothing = pd.DataFrame(np.nan, index=[0], columns=FRAME.columns)
    assert 0 < found.probability(nothing)[0] < 1
    assert np.isfinite(found.explain(nothing).contributions.to_numpy()).all()


@every_model
def test_a_row_alone_equals_the_row_in_its_batch(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    p, explained = found.probability(FRAME), found.explain(FRAME)
    low, high = found.precision.interval(p)
    survival = found.survival(FRAME) if outcome == "churn" else None
    for row in range(0, len(FRAME), 131):
        one = FRAME.iloc[[row]]
        alone = found.probability(one)
        assert alone[0] == p[row]
        assert [bound[0] for bound in found.precision.interval(alone)] == [low[row], high[row]]
        reasons = found.explain(one)
        assert (reasons.raw_score[0], reasons.base_value[0]) == (explained.raw_score[row], explained.base_value[row])
        np.testing.assert_array_equal(reasons.contributions.to_numpy()[0], explained.contributions.to_numpy()[row])
        if survival is not None:
            np.testing.assert_array_equal(found.survival(one)[0], survival[row])


@every_model
def test_base_value_and_contributions_add_up_to_the_raw_score(outcome: Outcome, kind: Kind) -> None:
    found = model(outcome, kind)
    for frame, tolerance in ((FRAME.iloc[[5]], 1e-6), (FRAME, 1e-4)):
        explained = found.explain(frame)
        assert set(explained.contributions.columns) == set(FRAME.columns)  # features alone: no step among them
        total = explained.base_value + explained.contributions.sum(axis=1).to_numpy()
        np.testing.assert_allclose(total, explained.raw_score, rtol=0, atol=tolerance)
    raw = found.margins(FRAME, HORIZON // 30).mean(axis=1) if outcome == "churn" else found.scorer.raw_score(FRAME)
    np.testing.assert_array_equal(found.explain(FRAME).raw_score, raw)


@pytest.mark.parametrize(("outcome", "kind"), BOOSTERS)
def test_a_plain_direction_is_never_gone_against(outcome: Outcome, kind: Kind) -> None:
    found, sign = model(outcome, kind), -1 if outcome == "expansion" else 1
    directed = [name for name in FRAME if DIRECTIONS[name]]
    assert {"products", "price_change_365d"} <= set(directed)
    base = FRAME.iloc[:40]
    for name in directed:
        grid = np.linspace(FRAME[name].min(), FRAME[name].max(), 25)
        swept = np.array([found.probability(base.assign(**{name: value})) for value in grid])
        assert (np.diff(swept, axis=0) * DIRECTIONS[name] * sign >= -1e-12).all(), name


def test_without_its_direction_the_booster_goes_the_other_way() -> None:
    """The labels do run against the direction, so that the check above could fail."""
    y = _rows("churn").y
    free = fit_booster(FRAME, y, directions={}, settings=BoosterSettings(rounds=20, learning_rate=0.2))
    swept = [free.raw_score(FRAME.assign(products=value)).mean() for value in (1.0, 5.0)]
    assert swept[1] > swept[0] + 0.2
    assert DIRECTIONS["products"] == -1


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_step_carries_forward_is_needed_even_where_it_does_not_vary(kind: Kind) -> None:
    rows = _rows("churn")
    fixed = rows.frame.assign(term_months=12.0, days_to_notice_deadline=np.nan)
    found = fit_outcome(
        Task(outcome="churn", horizon_days=HORIZON),
        kind,
        Rows(fixed, rows.timeline, rows.y, rows.change),
        settings=BoosterSettings(rounds=5),
    ).model
    assert set(CARRIED) <= set(found.inputs)
    assert found.survival(fixed).shape == (len(fixed), 12)
    assert not set(STEP_COLUMNS) & set(found.explain(fixed).contributions.columns)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_a_constant_near_it(label: int) -> None:
    booster = fit_booster(FRAME, np.full(len(FRAME), label), directions={}, settings=BoosterSettings(rounds=5))
    expected = np.log((label * len(FRAME) + 0.5) / ((1 - label) * len(FRAME) + 0.5))
    np.testing.assert_allclose(booster.raw_score(FRAME), expected, rtol=1e-6)
    np.testing.assert_allclose(booster.base_value, expected, rtol=1e-6)


def test_calibration_finds_the_law_behind_the_margins() -> None:
    rng = np.random.default_rng(3)
    margin = rng.normal(0, 2, 50_000)
    y = rng.random(len(margin)) < 1 / (1 + np.exp(-(0.7 * margin - 1)))
    found = Platt.fit(margin, y)
    assert (found.intercept, found.slope) == (pytest.approx(-1, abs=0.05), pytest.approx(0.7, abs=0.03))
    assert found(margin).mean() == pytest.approx(y.mean(), abs=1e-6)
    assert Platt.fit(-margin, y).slope == 0  # a ranking is never turned round


def test_a_linear_model_and_a_booster_are_told_apart_by_their_files() -> None:
    assert isinstance(OutcomeModel.from_files(model("churn", "logistic").to_files()).scorer, LinearModel)
