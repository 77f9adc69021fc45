"""The gate's four states, and what must not move them."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from training.gate import Decision, decide

RNG = np.random.default_rng(11)
ROWS = 3000
SIGNAL = RNG.normal(0, 1.5, ROWS)
TRUTH = expit(SIGNAL - 2)
Y = (RNG.random(ROWS) < TRUTH).astype(int)
ACCOUNTS = RNG.integers(0, 300, ROWS)
BLIND = np.full(ROWS, Y.mean())
HALF = expit(0.5 * SIGNAL - 1.9)


def gate(booster: Any, logistic: Any, tenure: Any = BLIND, **changed: Any) -> Decision:
    given: dict[str, Any] = {"y": Y, "accounts": ACCOUNTS, "positives_train": 50, "draws": 400, "seed": 1, **changed}
    return decide(
        given.pop("y"),
        given.pop("accounts"),
        given.pop("positives_train"),
        booster=booster,
        logistic=logistic,
        tenure_calendar=tenure,
        **given,
    )


@pytest.mark.parametrize(
    ("booster", "logistic", "state", "serves"),
    [
        (TRUTH, HALF, "pass", "booster"),
        (TRUTH, BLIND, "pass", "booster"),
        (TRUTH, TRUTH, "signal_no_gain", "logistic"),
        (HALF, TRUTH, "signal_no_gain", "logistic"),
        (BLIND, TRUTH, "signal_no_gain", "logistic"),
        (BLIND, BLIND, "no_signal", "health_score"),
        (1 - TRUTH, 1 - TRUTH, "no_signal", "health_score"),
    ],
)
def test_states(booster: Any, logistic: Any, state: str, serves: str) -> None:
    decision = gate(booster, logistic)
    assert (decision.state, decision.passed, decision.serves) == (state, state == "pass", serves)
    assert all(reason.endswith(".") for reason in decision.reasons)
    last = {"booster": "booster serves", "logistic": "logistic regression, which serves"}
    assert last.get(serves, "no model of this training may serve") in decision.reasons[-1]


def test_a_gain_that_is_not_sure_does_not_count() -> None:
    y = np.zeros(60)
    y[[0, 1, 2, 3, 4, 5, 30, 31, 32, 33]] = 1
    slight = np.repeat([6 / 30, 4 / 30], 30)
    decision = gate(slight, slight, np.full(60, 10 / 60), y=y, accounts=np.arange(60))
    assert decision.state == "no_signal"
    assert "below that of tenure_calendar" in decision.reasons[0]
    assert "not surely better" in decision.reasons[0]


def test_a_gain_on_one_account_alone_does_not_count() -> None:
    y = np.r_[np.ones(200), np.tile([0, 1], 50)].astype(int)
    model = np.r_[np.full(200, 0.9), np.full(100, 0.5)]
    flat = np.full(300, 0.5)
    one_account = np.r_[np.zeros(200), 1 + np.arange(100)]
    assert gate(model, flat, flat, y=y, accounts=one_account).state == "no_signal"
    assert gate(model, flat, flat, y=y, accounts=np.arange(300)).state == "pass"


def test_too_few_counts_accounts_not_rows() -> None:
    four = np.where(Y == 1, np.arange(ROWS) % 4, 4 + np.arange(ROWS))
    decision = gate(TRUTH, HALF, accounts=four)
    assert (decision.state, decision.passed, decision.serves) == ("too_few", False, "health_score")
    assert "in the test period: 4; at least 5" in decision.reasons[0]
    five = np.where(Y == 1, np.arange(ROWS) % 5, 5 + np.arange(ROWS))
    assert gate(TRUTH, HALF, accounts=five).state != "too_few"


def test_too_few_in_training() -> None:
    decision = gate(TRUTH, HALF, positives_train=4)
    assert decision.state == "too_few"
    assert "in training: 4; at least 5" in decision.reasons[0]
    assert gate(TRUTH, HALF, positives_train=5).state == "pass"
    assert gate(TRUTH, HALF, positives_train=5, min_positive_accounts=6).state == "too_few"


def test_both_shortages_are_named_and_an_empty_test_is_too_few() -> None:
    nobody = gate(TRUTH, HALF, y=np.zeros(ROWS), positives_train=0)
    assert [reason.split(":")[0][-8:] for reason in nobody.reasons[:2]] == ["training", "t period"]
    empty = gate([], [], [], y=[], accounts=[])
    assert empty.state == "too_few"
    assert "no row" in empty.reasons[0]


def test_a_decision_is_repeatable_and_blind_to_the_order_of_rows() -> None:
    order = np.random.default_rng(5).permutation(ROWS)
    shuffled = gate(TRUTH[order], HALF[order], BLIND, y=Y[order], accounts=ACCOUNTS[order])
    assert shuffled == gate(TRUTH, HALF) == gate(TRUTH, HALF)


def test_certain_and_wrong_costs_a_bounded_amount() -> None:
    certain = np.where(Y == 1, 1.0, 0.0)
    certain[0] = 1 - certain[0]
    assert gate(certain, HALF).state == "pass"


@pytest.mark.parametrize("name", ["booster", "logistic", "tenure"])
def test_bad_probabilities_are_refused_by_name(name: str) -> None:
    models = {"booster": TRUTH, "logistic": HALF, "tenure": BLIND, name: np.full(ROWS, 1.5)}
    with pytest.raises(ValueError, match=f"{name}.* is 1.5 in row 0"):
        gate(models["booster"], models["logistic"], models["tenure"])


def test_bad_accounts_are_refused() -> None:
    with pytest.raises(ValueError, match="accounts has 2 values"):
        gate(TRUTH, HALF, accounts=[1, 2])
