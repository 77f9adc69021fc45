"""Tuning the booster with Optuna, on the training period alone: fitted before an inner date, judged on what came after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from models.booster import BoosterSettings
from models.hazard import step_length
from models.outcome import OutcomeModel
from training.fit import fit_outcome
from training.metrics import log_loss
from training.paired import paired
from training.rows import FloatArray, Rows
from training.settings import Task

#: Accounts with the outcome that there must be before the inner date, and after it: fewer cannot tell settings apart.
ENOUGH = 30
#: The share of the rows with the outcome that come after the inner date.
LATER_SHARE = 1 / 3
#: A gain that is more than its standard error lies above 0 throughout the central interval of this level.
ONE_ERROR = 0.68
#: What is searched, and from where to where (in the logarithm); a setting given outside widens its range to hold it.
RANGES: Mapping[str, tuple[int, int] | tuple[float, float]] = {
    "num_leaves": (4, 31),
    "learning_rate": (0.02, 0.1),
    "feature_fraction": (0.15, 0.9),
    "bagging_fraction": (0.5, 1.0),
    "lambda_l2": (1.0, 100.0),
    "path_smooth": (1.0, 200.0),
    "rows_per_leaf": (30, 600),
}

# Optuna would tell of each study as it begins.
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Tuned:
    """Settings to fit with, and how they were come by.

    `study`: per trial its number (0: the settings given), its `loss`, the least loss so `best` far, and what it tried.
    `loss` and `default_loss` (nats a row; None where nothing was tried): those of the best trial and of the settings given by
    which was decided, of fits by another seed than the search's. `why` says in words what was decided.
    """

    settings: BoosterSettings
    study: tuple[dict[str, Any], ...]
    loss: float | None
    default_loss: float | None
    why: str

    @property
    def record(self) -> dict[str, Any]:
        """What a training's record and MLflow keep; `chosen`: the searched settings as they are fitted with."""
        return {
            "trials": len(self.study),
            "chosen": {name: getattr(self.settings, name) for name in RANGES},
            "loss": self.loss,
            "default_loss": self.default_loss,
            "why": self.why,
            "study": list(self.study),
        }


def tune(
    task: Task,
    rows: Rows,
    *,
    trials: int,
    settings: BoosterSettings,
    base: OutcomeModel | None = None,
    product_features: tuple[str, ...] = (),
    grace_days: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Search `RANGES` for settings whose calibrated probabilities have less log loss on later dates than the given ones'.

    `rows` are a training period's (`training.period.Period.known`): nothing of a test is seen. A trial fits as the served model
    is fitted (`training.fit.fit_outcome`) on what was settled at an inner date (`settled_at`), and is judged on the labelled rows
    from that date on, of which a third have the outcome (`inner_date`). Trial 0 is the settings as given; the search is Optuna's
    TPE sampler (Bergstra et al. 2011), one trial after the other.

    The best of many trials is the luckiest, too. So it and the settings given are fitted once more by another seed, and it is
    taken only where its gain then is more than the gain's standard error by account (`training.paired`). With fewer than `ENOUGH`
    accounts with the outcome on either side of the inner date nothing is tried. ValueError where `trials` is below 1.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}; give 1 or more (the first is the settings as they are; 30 is usual)")
    inner = inner_date(rows)
    if inner is None:
        return _untuned(settings, "the training rows with the outcome are of one date, and none is later")
    earlier, later = settled_at(task, rows, inner, grace_days), _since(rows, inner)
    for part, when in ((earlier, f"known by {inner:%Y-%m-%d}"), (later, f"from {inner:%Y-%m-%d} on")):
        if (found := part.positive_accounts()) < ENOUGH:
            return _untuned(settings, f"accounts with the outcome {when}: {found} in training; at least {ENOUGH} are needed")

    def said(tried: BoosterSettings, by: int) -> FloatArray:
        given: dict[str, Any] = {"product_features": product_features, "settings": tried, "base": base, "seed": by}
        model = fit_outcome(task, "booster", earlier, **given).model
        return model.probability(later.frame)

    steps = trials + 2  # the two fits that decide
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: getattr(settings, name) for name in RANGES})
    kept: list[dict[str, Any]] = []
    for number in range(trials):
        trial = study.ask(search_space(settings))
        loss = log_loss(later.y, said(settings.model_copy(update=trial.params), seed))
        study.tell(trial, loss)
        kept.append({"trial": number, "loss": loss, "best": study.best_value} | trial.params)
        progress(number + 1, steps)
    if study.best_trial.number == 0:
        progress(steps, steps)
        why = f"The settings given stay: on the dates from {inner:%Y-%m-%d} on no trial of {trials} has less log loss."
        return Tuned(settings, tuple(kept), study.best_value, study.best_value, why)
    best = settings.model_copy(update=study.best_params)
    p_given, p_best = said(settings, seed + 1), said(best, seed + 1)
    progress(steps, steps)
    gain = paired("log_loss", later.y, p_best, p_given, later.accounts, seed=seed, level=ONE_ERROR)
    beats = gain["low"] > 0
    loss, default_loss = log_loss(later.y, p_best), log_loss(later.y, p_given)
    why = (
        f"{f'Trial {study.best_trial.number} is taken' if beats else 'The settings given stay'}: on the dates from "
        f"{inner:%Y-%m-%d} on, by a fresh seed, the best of {trials} trials has a log loss of {loss:.5f} against "
        f"{default_loss:.5f}: a gain of {gain['difference']:.5f}, within a standard error by account from {gain['low']:.5f} to "
        f"{gain['high']:.5f}."
    )
    return Tuned(best if beats else settings, tuple(kept), loss, default_loss, why)


def inner_date(rows: Rows) -> pd.Timestamp | None:
    """The date that as near as can be `LATER_SHARE` of the rows with the outcome do not precede; None where all are of one."""
    known = rows.labelled()
    dates = np.unique(known.as_of)[1:]
    positive = np.sort(known.as_of[known.y > 0])
    if not len(dates) or not len(positive) or positive[0] == positive[-1]:
        return None
    share = 1 - np.searchsorted(positive, dates) / len(positive)
    return pd.Timestamp(dates[np.argmin(np.abs(share - LATER_SHARE))])


def settled_at(task: Task, rows: Rows, inner: pd.Timestamp, grace_days: int) -> Rows:
    """The rows as far as they were settled at `inner`: as those of a training period that ends there.

    A horizon that was open then has no label; of churn such a row stays, censored, where its first step was over. Of notices that
    were withdrawn later, and of rows that were recorded later, the last version is read: it, too, lies in the training period.
    """
    as_of, until, churn_at = (rows.timeline[name] for name in ("as_of", "known_until", "churn_at"))
    settled = inner - pd.Timedelta(days=grace_days)
    known_until = until.where(until < settled, settled)
    labelled = as_of + pd.Timedelta(days=task.horizon_days) <= known_until
    shortest = step_length(task.horizon_days) if task.outcome == "churn" else task.horizon_days
    kept = as_of + pd.Timedelta(days=shortest) <= known_until
    timeline = rows.timeline.assign(known_until=known_until, churn_at=churn_at.where(churn_at < known_until))
    known = replace(rows, timeline=timeline, y=np.where(labelled, rows.y, np.nan))
    return known.take(kept.to_numpy(dtype=bool))


def search_space(settings: BoosterSettings) -> dict[str, BaseDistribution]:
    """Return what Optuna searches, by name: `RANGES`, each widened where needed to hold what is given.

    >>> search_space(BoosterSettings(num_leaves=63))["num_leaves"]
    IntDistribution(high=63, log=True, low=4, step=1)
    """
    found: dict[str, BaseDistribution] = {}
    for name, (least, most) in RANGES.items():
        given = getattr(settings, name)
        low, high = min(least, given), max(most, given)
        # Nothing has a logarithm of nought.
        kind = IntDistribution if isinstance(given, int) else FloatDistribution
        found[name] = kind(low, high, log=low > 0)
    return found


def log_study(tuning: Mapping[str, Any] | None) -> dict[str, Any]:
    """Log `Tuned.record` into the active MLflow run; return the settings that were chosen, for its parameters.

    As tuning.json, and as series over the trials: `tuning.loss` and `tuning.best`. None: nothing was tuned, nothing is logged.
    """
    if tuning is None:
        return {}
    mlflow.log_dict(dict(tuning), "tuning.json")
    for each in tuning["study"]:
        mlflow.log_metrics({f"tuning.{name}": each[name] for name in ("loss", "best")}, step=each["trial"])
    return dict(tuning["chosen"])


def _untuned(settings: BoosterSettings, why: str) -> Tuned:
    return Tuned(settings, (), None, None, f"Nothing was tuned, and the settings given stay: {why}.")


def _since(rows: Rows, inner: pd.Timestamp) -> Rows:
    """The labelled rows from the inner date on."""
    known = rows.labelled()
    return known.take((known.timeline["as_of"] >= inner).to_numpy(dtype=bool))
