"""Two models on the same rows: equal ones differ by exactly nothing, a better one is told from a worse one."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from training import metrics
from training.intervals import bootstrap, percentile_interval
from training.paired import Metric, paired

METRICS: tuple[Metric, ...] = get_args(Metric)
RNG = np.random.default_rng(4)
ACCOUNTS = np.repeat(np.arange(300), 5)
SIGNAL = RNG.normal(0, 1.5, len(ACCOUNTS))
TRUTH = expit(SIGNAL - 2)
Y = (RNG.random(len(ACCOUNTS)) < TRUTH).astype(int)
NOISY = expit(SIGNAL - 2 + RNG.normal(0, 2, len(ACCOUNTS)))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_models_differ_by_exactly_nothing(metric: Metric) -> None:
    same = {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert paired(metric, Y, TRUTH, TRUTH.copy(), ACCOUNTS, draws=50, seed=1) == same
    if metric not in ("log_loss", "brier"):  # an equal ranking is an equal model
        assert paired(metric, Y, TRUTH, TRUTH**3, ACCOUNTS, draws=50, seed=1) == same


@pytest.mark.parametrize("metric", METRICS)
def test_the_better_model_is_above_nought_and_the_worse_as_far_below(metric: Metric) -> None:
    better = paired(metric, Y, TRUTH, NOISY, ACCOUNTS, draws=200, seed=1)
    worse = paired(metric, Y, NOISY, TRUTH, ACCOUNTS, draws=200, seed=1)
    assert 0 < better["low"] < better["difference"] < better["high"]
    assert worse == pytest.approx(
        {"difference": -better["difference"], "low": -better["high"], "high": -better["low"]}, rel=1e-12
    )


@pytest.mark.parametrize(
    ("metric", "figure", "sign"),
    [
        ("auc", metrics.auc, 1),
        ("average_precision", metrics.average_precision, 1),
        ("lift_top_decile", metrics.top_decile_lift, 1),
        ("empc", lambda y, p: metrics.empc(y, p)[0], 1),
        ("log_loss", metrics.log_loss, -1),
        ("brier", metrics.brier, -1),
    ],
)
def test_the_difference_is_that_of_the_two_figures(metric: Metric, figure: Any, sign: int) -> None:
    expected = sign * (figure(Y, TRUTH) - figure(Y, NOISY))
    assert paired(metric, Y, TRUTH, NOISY, ACCOUNTS, draws=2, seed=1)["difference"] == pytest.approx(expected)


def test_both_models_see_the_same_accounts() -> None:
    gain = (NOISY - Y) ** 2 - (TRUTH - Y) ** 2
    means = bootstrap(lambda weight: weight @ gain / weight.sum(), ACCOUNTS, len(Y), draws=100, seed=8)
    found = paired("brier", Y, TRUTH, NOISY, ACCOUNTS, draws=100, seed=8, level=0.8)
    assert (found["low"], found["high"]) == pytest.approx(percentile_interval(means, 0.8))
    alone = metrics.evaluate(Y, TRUTH, ACCOUNTS, draws=100, seed=8)
    assert found["high"] - found["low"] < alone["brier_high"] - alone["brier_low"]  # type: ignore[operator]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(METRICS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(metric: Metric, random: Any) -> None:
    some = slice(0, 200)
    y, a, b, accounts = Y[some], np.round(TRUTH[some], 2), np.round(NOISY[some], 2), ACCOUNTS[some]
    order = list(range(200))
    random.shuffle(order)
    shuffled = paired(metric, y[order], a[order], b[order], accounts[order], draws=20, seed=3)
    assert shuffled == paired(metric, y, a, b, accounts, draws=20, seed=3)


def test_one_class_gives_no_difference_in_ranking() -> None:
    assert all(np.isnan(list(paired("auc", [0, 0], [0.1, 0.2], [0.2, 0.1], [1, 2], draws=5, seed=1).values())))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "ece"}, "metric is 'ece'; models are compared by auc, "),
        ({"level": 95}, "level is 95; give the share"),
        ({"p_a": [0.1]}, "p_a has shape"),
        ({"p_b": [0.1, 2]}, "p_b is 2.0 in row 1"),
        ({"accounts": [1]}, "accounts has 1 values for 2 rows"),
        ({"draws": 0}, "draws is 0"),
    ],
)
def test_bad_input_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"metric": "auc", "y": [0, 1], "p_a": [0, 1], "p_b": [0, 1], "accounts": [1, 2], "draws": 5}
    with pytest.raises(ValueError, match=message):
        paired(**(given | changed), seed=1)
