"""The gate: which model may serve, decided on the test period by a paired bootstrap over accounts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.intervals import FloatArray, account_codes, bootstrap
from training.metrics import as_labels, as_probabilities, row_log_loss

State = Literal["too_few", "no_signal", "signal_no_gain", "pass"]
Server = Literal["booster", "logistic", "health_score"]

#: The lower 95 % bound of a gain is the 5th percentile of its bootstrap: the question is one-sided ("is it better?").
LOWER_BOUND = 0.05
#: Accounts with the outcome that it takes to judge a model.
ENOUGH = 5
SERVES: dict[State, Server] = {
    "too_few": "health_score",
    "no_signal": "health_score",
    "signal_no_gain": "logistic",
    "pass": "booster",
}


@dataclass(frozen=True)
class Decision:
    """What the gate says: `state`, whether the booster `passed`, and why, in plain sentences.

    >>> Decision("signal_no_gain", False, []).serves
    'logistic'
    """

    state: State
    passed: bool
    reasons: list[str]

    @property
    def serves(self) -> Server:
        """Name what predicts: the booster, the logistic regression, or nothing but the health score."""
        return SERVES[self.state]


def decide(
    y: npt.ArrayLike,
    accounts: npt.ArrayLike,
    positives_train: int,
    *,
    booster: npt.ArrayLike,
    logistic: npt.ArrayLike,
    tenure_calendar: npt.ArrayLike,
    draws: int = 2000,
    seed: int,
    min_positive_accounts: int = ENOUGH,
) -> Decision:
    """Decide on the test rows `y` (0/1) of `accounts`, given three models' probabilities of the same rows, all (rows,).

    `positives_train` counts the *accounts* with the outcome in training. States, in the order in which they are asked:
    `too_few`: under `min_positive_accounts` accounts with the outcome in training or in the test (or no test row);
    `no_signal`: neither booster nor logistic beats tenure_calendar; `signal_no_gain`: the booster does not beat
    logistic; `pass`. One model beats another if the lower 95 % bound (5th percentile of `draws` resamples of the
    accounts, the same for every pair) of its mean gain in log loss per row is above 0. ValueError on bad arrays.
    """
    if np.size(y) == 0:
        return _too_few(["The test period holds no row whose outcome is known: test earlier, or shorten the horizon."])
    labels = as_labels(y)
    codes, _ = account_codes(accounts, len(labels))
    probabilities = {"booster": booster, "logistic": logistic, "tenure_calendar": tenure_calendar}
    loss = {name: row_log_loss(labels, as_probabilities(p, len(labels), name)) for name, p in probabilities.items()}
    counts = {"training": positives_train, "the test period": len(np.unique(codes[labels == 1]))}
    short = [
        f"Accounts with the outcome in {where}: {count}; at least {min_positive_accounts} are needed to judge a model."
        for where, count in counts.items()
        if count < min_positive_accounts
    ]
    if short:
        return _too_few(short)

    pairs = [("booster", "tenure_calendar"), ("logistic", "tenure_calendar"), ("booster", "logistic")]
    gains = np.column_stack([loss[worse] - loss[better] for better, worse in pairs])
    beats, sentences = _compare(gains, pairs, codes, draws, seed)
    booster_signal, logistic_signal, booster_gain = beats
    # The same probability for everyone has learnt nothing, even where a baseline is worse than that.
    booster_signal &= bool(np.ptp(booster) > 0)
    logistic_signal &= bool(np.ptp(logistic) > 0)
    if not (booster_signal or logistic_signal):
        closing = "Nothing is learnt beyond tenure and calendar: no model of this training may serve."
        return Decision("no_signal", False, [*sentences[:2], closing])
    if not booster_gain:
        closing = "The booster adds nothing sure to the logistic regression, which serves."
        return Decision("signal_no_gain", False, [*sentences, closing])
    return Decision("pass", True, [*sentences, "The booster serves."])


def _too_few(reasons: list[str]) -> Decision:
    return Decision("too_few", False, [*reasons, "There is not enough evidence: no model of this training may serve."])


def _compare(
    gains: FloatArray, pairs: list[tuple[str, str]], codes: npt.NDArray[np.intp], draws: int, seed: int
) -> tuple[list[bool], list[str]]:
    """Judge each pair by its column of `gains` (rows, pairs): is the lower bound above 0, and a sentence."""
    means = bootstrap(lambda weight: weight @ gains / weight.sum(), codes, len(gains), draws=draws, seed=seed)
    lower = np.quantile(means, LOWER_BOUND, axis=0)
    sentences = [
        f"The {better}'s log loss is {abs(gain):.5f} a row {'below' if gain >= 0 else 'above'} that of {worse}; "
        f"the lower 95 % bound of the gain is {bound:+.5f}: {'better' if bound > 0 else 'not surely better'}."
        for (better, worse), gain, bound in zip(pairs, gains.mean(axis=0), lower, strict=True)
    ]
    return [bool(bound > 0) for bound in lower], sentences
