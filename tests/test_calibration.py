"""Calibrators keep the order of margins, never claim certainty, are kept as JSON, and are picked on later data alone."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression

from models.calibration import BOUND, Beta, Calibration, Isotonic, Platt, VennAbers, calibrator_from, choose
from models.calibration.curves import GROUPS
from models.calibration.kinds import KINDS
from models.calibration.selection import ENOUGH

FloatArray = npt.NDArray[np.float64]
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)

# A few values many times, so that ties and both labels at one margin are the rule.
margin_values = st.one_of(st.integers(-4, 4).map(float), st.floats(-40, 40))
examples = st.lists(st.tuples(margin_values, st.integers(0, 1)), min_size=1, max_size=60)


def fitted(kind: type[Calibration], rows: list[tuple[float, int]]) -> Calibration:
    return kind.fit(*zip(*rows, strict=True))


def drawn(margin: FloatArray, seed: int) -> FloatArray:
    """Labels of which sigmoid(margin) is the probability."""
    return (np.random.default_rng(seed).random(len(margin)) < expit(margin)).astype(float)


# --- every kind ------------------------------------------------------------------------------------------------------


@every_kind
@settings(deadline=None)
@given(rows=examples, asked=st.lists(st.floats(-800, 800), min_size=2, max_size=40))
def test_probabilities_never_fall_as_the_margin_rises_and_are_never_certain(
    kind: type[Calibration], rows: list[tuple[float, int]], asked: list[float]
) -> None:
    p = fitted(kind, rows)(np.sort([*asked, *(margin for margin, _ in rows)]))
    assert ((p >= BOUND) & (p <= 1 - BOUND)).all()
    assert (np.diff(p) >= -1e-14 * p[1:]).all()


@every_kind
@settings(deadline=None)
@given(rows=examples)
def test_kept_as_json_it_comes_back_bit_for_bit(kind: type[Calibration], rows: list[tuple[float, int]]) -> None:
    found = fitted(kind, rows)
    back = calibrator_from(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    assert back == found
    assert type(back) is kind
    asked = np.linspace(-30, 30, 301)
    np.testing.assert_array_equal(back(asked), found(asked))


@every_kind
@settings(deadline=None)
@given(rows=examples, data=st.data())
def test_the_order_of_the_rows_does_not_matter(
    kind: type[Calibration], rows: list[tuple[float, int]], data: st.DataObject
) -> None:
    assert fitted(kind, data.draw(st.permutations(rows))) == fitted(kind, rows)


@every_kind
def test_any_shape_is_answered_in_that_shape_each_margin_by_itself(kind: type[Calibration]) -> None:
    margin = np.random.default_rng(0).normal(-2, 2, 600)
    found = kind.fit(margin, drawn(margin, 1))
    p = found(margin)
    np.testing.assert_array_equal(found(margin.reshape(3, 4, 50)), p.reshape(3, 4, 50))
    assert [float(found(value)) for value in margin[:20]] == p[:20].tolist()
    assert found(np.empty((0, 3))).shape == (0, 3)
    assert np.isnan(found([np.nan, 0.0])).tolist() == [True, False]


@every_kind
def test_margins_that_are_right_stay(kind: type[Calibration]) -> None:
    margin = np.random.default_rng(2).normal(-2.5, 1.5, 60_000)
    p, truth = kind.fit(margin, drawn(margin, 3))(margin), expit(margin)
    assert np.abs(p - truth).mean() < 0.05 * truth.mean()
    assert p.mean() == pytest.approx(truth.mean(), rel=0.03)


@every_kind
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_no_certainty(kind: type[Calibration], label: int) -> None:
    p = kind.fit(np.linspace(-1, 1, 9), np.full(9, label))([-1.0, 0.0, 1.0])
    assert ((p > 0.05) & (p < 0.95)).all()


@every_kind
@pytest.mark.parametrize(
    ("margin", "y", "message"),
    [
        ([], [], "at least one row"),
        ([0.0, 1.0], [0], r"shape \(2,\) and y \(1,\)"),
        ([0.0, np.inf], [0, 1], "the margin is inf in row 1"),
        ([0.0, 1.0], [0, 2], "y is 2.0 in row 1; only 0 and 1"),
    ],
)
def test_bad_rows_are_refused(kind: type[Calibration], margin: list[float], y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.fit(margin, y)


# --- each kind -------------------------------------------------------------------------------------------------------


def test_beta_finds_the_law_behind_the_margins() -> None:
    margin = np.random.default_rng(4).normal(0, 2, 100_000)
    behind = 0.5 + 0.6 * log_expit(margin) - 1.7 * log_expit(-margin)
    y = drawn(behind, 5)
    found = Beta.fit(margin, y)
    assert (found.a, found.b, found.c) == (
        pytest.approx(0.6, abs=0.05),
        pytest.approx(1.7, abs=0.05),
        pytest.approx(0.5, abs=0.1),
    )
    assert np.abs(found(margin) - expit(behind)).max() < 0.02
    turned = Beta.fit(-margin, y)
    assert (turned.a, turned.b) == (0, 0)  # a ranking is never turned round


def test_beta_with_equal_slopes_is_platt() -> None:
    asked = np.linspace(-12, 12, 97)
    np.testing.assert_allclose(Beta(0.7, 0.7, -1.0)(asked), Platt(-1.0, 0.7)(asked), rtol=1e-12)


def test_isotonic_is_that_of_scikit_learn_with_a_positive_below_and_a_negative_above() -> None:
    margin = np.random.default_rng(6).normal(-2, 1.5, 3_000)
    y = drawn(margin, 7)
    known = IsotonicRegression().fit([margin.min(), *margin, margin.max()], [1, *y, 0])
    found = Isotonic.fit(margin, y)
    np.testing.assert_allclose(found(found.margins), known.predict(found.margins), rtol=1e-9)
    assert (np.diff(found.logits) > 0).all()  # no two points say the same
    assert len(found.margins) == len(np.unique(known.y_thresholds_.round(12)))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(margin_values, st.integers(0, 1)), min_size=1, max_size=25))
def test_venn_abers_is_what_its_definition_says(rows: list[tuple[float, int]]) -> None:
    margin, y = (np.array(values, dtype=float) for values in zip(*rows, strict=True))
    margin = margin.round(3)
    found = VennAbers.fit(margin, y)
    for value in np.unique(margin):
        p0, p1 = (IsotonicRegression().fit(np.append(margin, value), np.append(y, label)).predict([value])[0] for label in (0, 1))
        assert found(value) == pytest.approx(p1 / (1 - p0 + p1), rel=1e-9)


def test_venn_abers_of_many_rows_is_kept_small_and_close_to_that_of_all() -> None:
    margin = np.random.default_rng(8).normal(-2, 1.5, 20_000)
    y = drawn(margin, 9)
    found = VennAbers.fit(margin, y)
    assert 10 < len(found.margins) <= GROUPS
    whole = IsotonicRegression(out_of_bounds="clip").fit(margin, y).predict(margin)
    assert np.abs(found(margin) - whole).mean() < 0.1 * y.mean()


@pytest.mark.parametrize("kind", [Isotonic, VennAbers])
def test_a_few_rows_without_an_event_claim_little(kind: type[Calibration]) -> None:
    """Ten rows without an event say one in eleven or twelve, a thousand say one in a thousand: the rule of succession."""
    for rows in (10, 1_000):
        margin = np.append(np.linspace(-5, -4, rows), [3.0, 3.0])
        p = kind.fit(margin, np.append(np.zeros(rows), [1, 1]))(-9.0)
        assert 1 / (rows + 2.001) <= p <= 1 / (rows + 0.999)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_models_registered_before_kinds_are_platts() -> None:
    assert calibrator_from({"intercept": 0.25, "slope": 1.5}) == Platt(0.25, 1.5)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"kind": "spline", "knots": []}, "kind is 'spline'; known are platt, beta, isotonic, venn_abers"),
        ({"kind": "beta", "intercept": 0.0, "slope": 1.0}, "a beta calibrator has a, b, c, got intercept, slope"),
        ({}, "a platt calibrator has intercept, slope, got nothing"),
        ({"kind": "isotonic", "margins": [0.0, 1.0], "logits": [0.0]}, "of 2 margins and 1 logits"),
        ({"kind": "isotonic", "margins": [], "logits": []}, "of 0 margins"),
        ({"kind": "venn_abers", "margins": [1.0, 0.0], "logits": [0.0, 1.0]}, "margins rising"),
        ({"kind": "venn_abers", "margins": [0.0, 1.0], "logits": [1.0, 0.0]}, "logits never falling"),
        ({"kind": "isotonic", "margins": [0.0], "logits": [float("nan")]}, "all finite"),
    ],
)
def test_what_is_no_calibrator_is_refused(stored: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrator_from(stored)


# --- the choice ------------------------------------------------------------------------------------------------------

Data = tuple[FloatArray, FloatArray, npt.NDArray[np.datetime64], npt.NDArray[np.intp]]
MONTHS = 18
DISTORTIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "none": lambda z: z,
    "straight": lambda z: 0.6 * z - 1.0,
    "cubic": lambda z: 0.3 * (z + 4) ** 3 + 0.3 * (z + 4) - 4,
    "saturating": lambda z: 1.5 * np.tanh((z + 4) / 1.5) - 4,
}


@cache
def portfolio(distortion: str, accounts: int, seed: int) -> Data:
    """Margins that see the truth through a distortion: a row a month, the rows of an account alike."""
    rng = np.random.default_rng(seed)
    account, month = np.repeat(np.arange(accounts), MONTHS), np.tile(np.arange(MONTHS), accounts)
    z = rng.normal(size=accounts)[account] + 0.7 * rng.normal(size=len(account)) - 4
    when = np.datetime64("2024-01-01", "us") + month * np.timedelta64(30, "D")
    return DISTORTIONS[distortion](z), (rng.random(len(z)) < expit(z)).astype(float), when, account


def loss_on_others(calibrator: Calibration, distortion: str) -> float:
    """Mean log loss on accounts of another draw."""
    margin, y, _, _ = portfolio(distortion, 4_000, 99)
    p = calibrator(margin)
    return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())


@pytest.mark.parametrize("distortion", ["cubic", "saturating"])
def test_a_distorted_margin_is_straightened(distortion: str) -> None:
    data = portfolio(distortion, 2_000, 1)
    found = choose(*data)
    assert found.kind in {"beta", "isotonic", "venn_abers"}
    (row,) = [row for row in found.comparison if row["picked"]]
    assert row["kind"] == found.kind
    assert row["gain_over_platt"] > row["se"] > 0
    assert loss_on_others(found.calibrator, distortion) < 0.995 * loss_on_others(Platt.fit(*data[:2]), distortion)
    assert found.calibrator == KINDS[found.kind].fit(*data[:2])  # refitted on all rows


@pytest.mark.parametrize("distortion", ["none", "straight"])
def test_where_platt_is_right_the_choice_costs_next_to_nothing(distortion: str) -> None:
    kinds = []
    for seed in range(12):
        data = portfolio(distortion, 1_000, seed)
        found = choose(*data)
        kinds.append(found.kind)
        assert loss_on_others(found.calibrator, distortion) < 1.005 * loss_on_others(Platt.fit(*data[:2]), distortion)
    assert kinds.count("platt") >= 6


def test_the_comparison_is_ready_for_a_record() -> None:
    found = choose(*portfolio("cubic", 600, 2))
    assert [row["kind"] for row in found.comparison] == list(KINDS)
    assert sum(row["picked"] for row in found.comparison) == 1
    for row in found.comparison:
        assert list(row) == ["kind", "log_loss", "gain_over_platt", "se", "rows", "judged_from", "picked", "why"]
        assert row["gain_over_platt"] == pytest.approx(found.comparison[0]["log_loss"] - row["log_loss"], abs=1e-12)
    assert json.loads(json.dumps(found.comparison, allow_nan=False)) == list(found.comparison)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), by_account=st.booleans())
def test_the_choice_does_not_depend_on_the_rows_order(seed: int, by_account: bool) -> None:
    margin, y, when, account = portfolio("cubic", 400, 3)
    order = np.random.default_rng(seed).permutation(len(y))
    names = np.array([f"a{number}" for number in account], dtype=object)
    shuffled = choose(margin[order], y[order], when[order], names[order] if by_account else None)
    assert shuffled == choose(margin, y, when, names if by_account else None)


@given(
    positives=st.lists(st.integers(ENOUGH, 200), min_size=2, max_size=8),
    share=st.floats(0.05, 0.95),
)
@settings(max_examples=25, deadline=None)
def test_the_cut_leaves_the_share_of_positives_nearest_to_the_one_asked_for(positives: list[int], share: float) -> None:
    rows = [count + ENOUGH for count in positives]
    instants = np.datetime64("2025-01-01", "us") + np.arange(len(rows)) * np.timedelta64(7, "D")
    y = np.concatenate([np.repeat([1.0, 0.0], [count, ENOUGH]) for count in positives])
    (first, *_) = choose(np.zeros(len(y)), y, np.repeat(instants, rows), later_share=share).comparison
    place = int(np.searchsorted(instants, np.datetime64(first["judged_from"], "us")))
    assert 0 < place < len(rows)
    assert first["rows"] == sum(rows[place:])  # no instant is cut
    away = [abs(sum(positives[k:]) / sum(positives) - share) for k in range(1, len(rows))]
    assert away[place - 1] == pytest.approx(min(away), abs=1e-9)


def test_the_error_is_by_account() -> None:
    """The same rows written five times add nothing where the account is known, and seem to where each row stands alone."""
    margin, y, when, account = portfolio("cubic", 500, 4)
    fivefold = [np.repeat(values, 5) for values in (margin, y, when, account)]
    once, known = choose(margin, y, when, account), choose(*fivefold)
    alone = choose(*fivefold[:3])
    for kind in (1, 2):
        assert known.comparison[kind]["se"] == pytest.approx(once.comparison[kind]["se"], rel=0.2)
        assert alone.comparison[kind]["se"] < 0.6 * known.comparison[kind]["se"]


def test_rows_whose_label_was_open_at_the_cut_are_not_compared() -> None:
    margin, y, when, account = portfolio("cubic", 800, 5)
    found = choose(margin, y, when, account, horizon_days=90)
    cut = np.datetime64(found.comparison[0]["judged_from"], "us")
    open_then = (when < cut) & (when + np.timedelta64(90, "D") > cut)
    assert len(np.unique(when[open_then])) == 2  # of 30 days each; the third ends with the cut
    moved = choose(np.where(open_then, -margin, margin), y, when, account, horizon_days=90)
    assert [row["log_loss"] for row in moved.comparison] == [row["log_loss"] for row in found.comparison]
    assert moved.calibrator != found.calibrator  # of all rows
    everything = choose(margin, y, when, account)
    assert everything.comparison[0]["judged_from"] == found.comparison[0]["judged_from"]
    assert everything.comparison[0]["log_loss"] != found.comparison[0]["log_loss"]


def test_little_data_leaves_platt_and_says_why() -> None:
    margin, y, when, account = portfolio("cubic", 60, 6)
    found = choose(margin, y, when, account)
    (row,) = found.comparison
    assert found.calibrator == Platt.fit(margin, y)
    assert (row["kind"], row["picked"], row["log_loss"], row["gain_over_platt"], row["se"]) == ("platt", True, None, None, None)
    assert row["why"].startswith("only ")
    assert f"accounts with the outcome in the earlier rows: {ENOUGH} are needed" in row["why"]
    assert choose(margin, 1 - y, when, account).comparison[0]["why"] == row["why"].replace("with the", "without the").replace(
        "the outcome", "it"
    )


def test_one_instant_or_one_class_has_nothing_to_compare() -> None:
    margin, y, when, account = portfolio("none", 200, 7)
    assert choose(margin, y, np.full_like(when, when[0]), account).comparison[0]["why"].startswith("all rows are of one instant")
    assert choose(margin, np.zeros_like(y), when, account).comparison[0]["why"].startswith("only 0 accounts with the outcome")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"later_share": 1.0}, "later_share is 1.0"),
        ({"when": np.array(["2025-01-01", "NaT"], dtype="datetime64[us]")}, "when is null in row 1"),
        ({"accounts": ["a", None]}, "accounts is null in row 1"),
        ({"accounts": ["a"]}, r"accounts has shape \(1,\) but margins have \(2,\)"),
        ({"y": [0, 3]}, "y is 3.0 in row 1"),
        ({"margins": [np.nan, 0.0]}, "the margin is nan in row 0"),
    ],
)
def test_a_bad_question_is_refused(change: dict[str, Any], message: str) -> None:
    asked = {"margins": [0.0, 1.0], "y": [0, 1], "when": np.array(["2025-01-01", "2025-02-01"], dtype="datetime64[us]")}
    with pytest.raises(ValueError, match=message):
        choose(**(asked | change))


def test_a_curve_through_the_right_margins_is_the_margin() -> None:
    """Lines are drawn in logits: between points that are right, everything is."""
    points = np.linspace(-6, 2, 5)
    asked = np.linspace(-6, 2, 200)
    np.testing.assert_allclose(logit(Isotonic(tuple(points), tuple(points))(asked)), asked, rtol=1e-9, atol=1e-9)
