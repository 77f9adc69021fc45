"""Metrics against golden values, other definitions of the same figure, and the laws they obey."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import beta as beta_law
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from training import metrics, profit, ranking
from training.intervals import bootstrap, percentile_interval
from training.ranking import CLIP, RankedRows, Ranking

GOLDEN = Path(__file__).resolve().parents[1].parent / "shared" / "golden" / "ranking_metrics.json"

# Sixty-fourths: many ties, and sums and squares without rounding.
row = st.tuples(st.integers(0, 1), st.integers(0, 64))
tables = st.lists(row, min_size=1, max_size=60).map(
    lambda rows: (np.array([y for y, _ in rows]), np.array([p for _, p in rows]) / 64)
)
mixed_tables = tables.filter(lambda table: 0 < table[0].mean() < 1)
law = settings(max_examples=80, deadline=None)


def company(rows: int = 2000, accounts: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that follow their probabilities, and the accounts of the rows."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(-2, 1, rows))
    return (rng.random(rows) < p).astype(int), p, rng.integers(0, accounts, rows).astype(str)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN} is not here")
    return json.loads(GOLDEN.read_text())


def test_golden_empc(golden: dict[str, Any]) -> None:
    for case in golden["empc"]:
        terms = [case[name] for name in ("y", "p", "clv", "d", "f", "alpha", "beta")]
        value, fraction = metrics.empc(*terms)
        assert value == pytest.approx(case["value"], abs=5e-5)
        assert fraction == pytest.approx(case["fraction"], abs=5e-6)


def test_golden_empc_by_value(golden: dict[str, Any]) -> None:
    case = golden["empc_per_account_value"]
    terms = [case[name] for name in ("y", "p", "v", "delta", "f", "alpha", "beta")]
    value, fraction = metrics.empc_by_value(*terms)
    assert value == pytest.approx(case["value"], abs=5e-4)
    assert fraction == pytest.approx(case["fraction"], abs=5e-6)


def test_golden_lift_ece_and_nps(golden: dict[str, Any]) -> None:
    lift, ece = golden["top_decile_lift"], golden["ece"]
    assert metrics.top_decile_lift(lift["y"], lift["p"]) == pytest.approx(lift["value"])
    assert metrics.ece(ece["y"], ece["p"]) == pytest.approx(ece["value"])
    for case in golden["nps"]:
        assert metrics.nps(case["answers"]) == pytest.approx(case["value"])


@law
@given(mixed_tables)
def test_figures_agree_with_scikit_learn(table: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = table
    assert metrics.auc(y, p) == pytest.approx(reference.roc_auc_score(y, p))
    assert metrics.average_precision(y, p) == pytest.approx(reference.average_precision_score(y, p))
    assert metrics.brier(y, p) == pytest.approx(reference.brier_score_loss(y, p))
    inside = np.clip(p, CLIP, 1 - CLIP)
    assert metrics.log_loss(y, p) == pytest.approx(reference.log_loss(y, inside))


@law
@given(mixed_tables, st.sampled_from([np.square, lambda p: p / 4, lambda p: (1 + p) / 2, lambda p: p * (2 - p)]))
def test_auc_reads_the_ranking_alone(table: tuple[np.ndarray, np.ndarray], transform: Callable[[np.ndarray], np.ndarray]) -> None:
    y, p = table
    assert metrics.auc(y, transform(p)) == metrics.auc(y, p)
    assert metrics.auc(y, 1 - p) == pytest.approx(1 - metrics.auc(y, p))


@law
@given(tables.filter(lambda table: table[0].any()))
def test_lift_lies_between_nothing_and_all_positives_on_top(table: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = table
    top = -(-len(y) // 10)
    best = min(len(y) / top, 1 / y.mean())
    assert 0 <= metrics.top_decile_lift(y, p) <= best + 1e-12
    assert metrics.top_decile_lift(y, y) == pytest.approx(best)
    assert metrics.top_decile_lift(y, np.full(len(y), 0.3)) == pytest.approx(1)


def test_lift_takes_the_tenth_rounded_up() -> None:
    p = np.arange(11) / 11
    assert metrics.top_decile_lift(p > 0.85, p) == pytest.approx(11 / 2)  # two rows, both positive
    assert metrics.top_decile_lift(p > 0.9, p) == pytest.approx(11 / 2)  # two rows, one positive


@law
@given(tables)
def test_ece_is_a_share_and_nought_for_the_base_rate(table: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = table
    assert 0 <= metrics.ece(y, p) <= 1
    assert metrics.ece(y, np.full(len(y), y.mean())) == pytest.approx(0, abs=1e-12)
    assert metrics.ece(y, 1 - np.full(len(y), y.mean())) == pytest.approx(abs(1 - 2 * y.mean()))


def test_ece_bins_have_equal_mass() -> None:
    y, p = np.zeros(20), np.r_[np.full(18, 0.0), 0.5, 0.5]
    assert metrics.ece(y, p) == pytest.approx(0.05)
    y = np.r_[np.zeros(19), 1]  # the tie's mean label, whatever the order of its rows
    assert metrics.ece(y, p) == pytest.approx(0)


def test_calibration_slope_is_that_of_the_unpenalised_regression() -> None:
    y, p, _ = company()
    x = logit(np.clip(p**2, CLIP, None)).reshape(-1, 1)
    expected = LogisticRegression(C=1e9, tol=1e-9, max_iter=1000).fit(x, y).coef_[0, 0]
    assert metrics.calibration_slope(y, p**2) == pytest.approx(expected, rel=1e-4)
    assert metrics.calibration_slope(y, expit(2 * logit(p))) == pytest.approx(metrics.calibration_slope(y, p) / 2)


@law
@given(mixed_tables)
def test_calibration_slope_makes_the_likelihood_largest(table: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = table
    slope, x = metrics.calibration_slope(y, p), logit(np.clip(p, CLIP, 1 - CLIP))
    if np.isnan(slope):
        up, down = x[y == 1], x[y == 0]
        assert up.min() >= down.max() or down.min() >= up.max()
        return
    # At the best line the errors sum to nought, and to nought against x; the intercept is what makes the first so.
    low, high = -40 - abs(slope) * 14, 40 + abs(slope) * 14
    intercept = brentq(lambda a: (expit(a + slope * x) - y).sum(), low, high, xtol=1e-13)
    assert (expit(intercept + slope * x) - y) @ x == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0, 0], [0.1, 0.2]),
        ([1, 1], [0.1, 0.2]),
        ([0, 1], [0.5, 0.5]),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
        ([0, 0, 1, 1], [0.4, 0.3, 0.2, 0.1]),
        ([0, 1, 0, 1], [0.0, 0.2, 0.2, 1.0]),
    ],
)
def test_calibration_slope_is_undefined_without_overlap(y: list[int], p: list[float]) -> None:
    assert np.isnan(metrics.calibration_slope(y, p))


@law
@given(tables, st.floats(0, 1), st.floats(0, 50), st.integers(0, 9), st.sampled_from([(6, 14), (1, 1), (0.7, 3)]))
def test_empc_is_the_mean_of_the_best_cut(
    table: tuple[np.ndarray, np.ndarray], delta: float, f: float, seed: int, shape: tuple[float, float]
) -> None:
    y, p = table
    value = np.random.default_rng(seed).exponential(100, len(y))
    g = beta_law.ppf((np.arange(4000) + 0.5) / 4000, *shape)
    profits, shares = [np.zeros_like(g)], [0.0]
    for cut in np.unique(p):
        contacted = p >= cut
        churners, others = value[contacted & (y == 1)], value[contacted & (y == 0)]
        spent = delta * others.sum() + f * contacted.sum()
        profits.append((g * (1 - delta) * churners.sum() - spent) / len(y))
        shares.append(contacted.mean())
    best, fraction = metrics.empc_by_value(y, p, value, delta, f, *shape)
    assert best == pytest.approx(np.max(profits, axis=0).mean(), rel=1e-3, abs=1e-3)
    assert 0 <= fraction <= max(shares) + 1e-12


@law
@given(tables, st.floats(1, 1000), st.floats(0, 1), st.floats(0, 100))
def test_no_ranking_earns_more_than_the_perfect_one(
    table: tuple[np.ndarray, np.ndarray], clv: float, delta: float, f: float
) -> None:
    y, p = table
    terms = (clv, delta * clv, f)
    value, fraction = metrics.empc(y, p, *terms)
    assert -1e-9 <= value <= metrics.empc(y, y, *terms)[0] + 1e-9
    assert -1e-12 <= fraction <= 1 + 1e-12


def test_empc_contacts_nobody_where_nobody_leaves() -> None:
    assert metrics.empc([0, 0, 0], [0.1, 0.5, 0.9]) == (0.0, 0.0)
    assert metrics.empc_by_value([1, 0], [0.9, 0.1], [1e-310, 0.0], 0.05, 15) == (0.0, 0.0)


@law
@given(tables, st.integers(0, 5))
def test_weights_equal_rows_repeated(table: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    y, p = table
    value = np.random.default_rng(seed).exponential(100, len(y))
    accounts = np.arange(len(y)) // 2
    weighted = RankedRows(y.astype(float), p, value)
    for weights in bootstrap(np.copy, accounts, len(y), draws=3, seed=seed):
        assert weights[::2].sum() == accounts[-1] + 1  # as many accounts drawn as there are
        assert (weights[accounts == accounts[0]] == weights[0]).all()
        drawn = np.repeat(np.arange(len(y)), weights.astype(int))
        assert figures_of(weighted.ranking(weights)) == pytest.approx(
            plain_figures(y[drawn], p[drawn], value[drawn]), nan_ok=True
        )


@law
@given(tables, st.integers(0, 5))
def test_a_weight_of_one_for_all_changes_nothing(table: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    y, p = table
    value = np.random.default_rng(seed).exponential(100, len(y))
    rows = RankedRows(y.astype(float), p, value)
    assert figures_of(rows.ranking(np.ones(len(y)))) == pytest.approx(plain_figures(y, p, value), nan_ok=True)


def figures_of(table: Ranking) -> dict[str, float]:
    stakes = profit.by_value(table, profit.BY_VALUE)
    return {name: figure(table) for name, figure in metrics.BY_LABEL.items()} | {
        "empc": profit.expected_maximum(profit.per_head(table), profit.PER_HEAD)[0],
        "empc_by_value": profit.expected_maximum(stakes, profit.BY_VALUE)[0],
        "target_all": profit.target_all(stakes, profit.BY_VALUE),
        "arr_caught": ranking.arr_caught_top_decile(table),
    }


def plain_figures(y: np.ndarray, p: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """The figures from the rows themselves."""
    terms = profit.BY_VALUE
    worth = terms.margin * value
    everybody = (terms.accepted * (1 - terms.delta) * y - terms.delta * (1 - y)) * worth - terms.f
    return {
        "base_rate": y.mean(),
        "auc": metrics.auc(y, p),
        "average_precision": metrics.average_precision(y, p),
        "lift_top_decile": metrics.top_decile_lift(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier": metrics.brier(y, p),
        "ece": metrics.ece(y, p),
        "calibration_slope": metrics.calibration_slope(y, p),
        "empc": metrics.empc(y, p)[0],
        "empc_by_value": metrics.empc_by_value(y, p, worth, terms.delta, terms.f)[0],
        "target_all": everybody.mean(),
        "arr_caught": arr_caught(y, p, value),
    }


def arr_caught(y: np.ndarray, p: np.ndarray, value: np.ndarray) -> float:
    """Share of the money on positives in the highest tenth, a row tied at its border counted by the share of its tie inside."""
    top = -(-len(y) // 10)
    border = np.sort(p)[-top]
    inside = np.where(p > border, 1.0, 0.0)
    inside[p == border] = (top - inside.sum()) / (p == border).sum()
    return float(inside @ (value * y) / (value @ y)) if y.any() else float("nan")


def test_bootstrap_spreads_like_explicit_resampling_of_accounts() -> None:
    y, p, accounts = company(600, 40)
    error = (p - y) ** 2
    ours = bootstrap(lambda weight: weight @ error / weight.sum(), accounts, 600, draws=4000, seed=1)
    rng = np.random.default_rng(2)
    rows = {account: np.flatnonzero(accounts == account) for account in np.unique(accounts)}
    names = list(rows)
    explicit = [error[np.concatenate([rows[name] for name in rng.choice(names, len(names))])].mean() for _ in range(4000)]
    assert ours.mean() == pytest.approx(np.mean(explicit), abs=4 * np.std(explicit) * np.sqrt(2 / 4000))
    assert ours.std() == pytest.approx(np.std(explicit), rel=0.08)


@pytest.mark.parametrize(("answer", "score"), [(0, -100), (6, -100), (7, 0), (8, 0), (9, 100), (10, 100)])
def test_nps_counts_promoters_from_9_and_detractors_to_6(answer: int, score: float) -> None:
    assert metrics.nps([answer, answer]) == score


def test_percentile_interval_leaves_undefined_draws_out() -> None:
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([], [], "y has shape .0,.; give one 0 or 1 per row, and at least one row"),
        ([[0, 1]], [[0.5, 0.5]], "y has shape"),
        ([0, 1], [0.5], "p has shape .1,. but y has 2 rows"),
        ([0, 2], [0.5, 0.5], "y is 2.0 in row 1; only 0 and 1 are labels"),
        ([0, np.nan], [0.5, 0.5], "y is nan in row 1"),
        ([0, 1], [0.5, 1.1], "p is 1.1 in row 1; give probabilities between 0 and 1"),
        ([0, 1], [-0.1, 1], "p is -0.1 in row 0"),
        ([0, 1], [0.1, np.nan], "p is nan in row 1"),
    ],
)
def test_bad_rows_are_refused_by_every_metric(y: list[Any], p: list[Any], message: str) -> None:
    every: list[Callable[[Any, Any], Any]] = [
        metrics.auc,
        metrics.average_precision,
        metrics.top_decile_lift,
        metrics.log_loss,
        metrics.brier,
        metrics.ece,
        metrics.calibration_slope,
        metrics.empc,
        lambda y, p: metrics.empc_by_value(y, p, np.ones(np.size(y)), 0.05, 1),
        lambda y, p: metrics.evaluate(y, p, ["a"] * np.size(y), seed=1),
    ]
    for metric in every:
        with pytest.raises(ValueError, match=message):
            metric(y, p)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.empc([0, 1], [0, 1], clv=0), "clv is 0"),
        (lambda: metrics.empc([0, 1], [0, 1], clv=float("nan")), "clv is nan"),
        (lambda: metrics.empc([0, 1], [0, 1], d=201), "d is 201"),
        (lambda: metrics.empc([0, 1], [0, 1], f=-1), "f is -1"),
        (lambda: metrics.empc([0, 1], [0, 1], alpha=0), "alpha and beta are 0 and 14"),
        (lambda: metrics.empc_by_value([0, 1], [0, 1], [1], 0.1, 1), "value has shape"),
        (lambda: metrics.empc_by_value([0, 1], [0, 1], [1, -2], 0.1, 1), "value is -2.0 in row 1"),
        (lambda: metrics.empc_by_value([0, 1], [0, 1], [1, np.nan], 0.1, 1), "value is nan in row 1"),
        (lambda: metrics.empc_by_value([0, 1], [0, 1], [1, 2], 1.5, 1), "delta is 1.5"),
        (lambda: metrics.nps([]), "answers has shape"),
        (lambda: metrics.nps([10, 11]), "answers is 11.0 in row 1"),
        (lambda: metrics.nps([10, np.nan]), "answers is nan in row 1"),
        (lambda: profit.Terms(0.05, 60, margin=0), "margin is 0"),
        (lambda: metrics.evaluate([0, 1], [0, 1], ["a"], seed=1), "accounts has 1 values for 2 rows"),
        (lambda: metrics.evaluate([0, 1], [0, 1], np.array(["a", None]), seed=1), "accounts is null in row 1"),
        (lambda: metrics.evaluate([0, 1], [0, 1], ["a", "b"], draws=0, seed=1), "draws is 0"),
        (lambda: metrics.evaluate([0, 1], [0, 1], ["a", "b"], value=[1], seed=1), "value has shape .1,. but y has 2 rows"),
        (lambda: metrics.evaluate([0, 1], [0, 1], ["a", "b"], value=[1, np.nan], seed=1), "value is nan in row 1"),
    ],
)
def test_bad_terms_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
