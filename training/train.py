"""The main job of training: every task fitted, tested on later rows, gated, refitted and registered."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.calibration import Platt
from models.hazard import step_length
from models.outcome import OutcomeModel
from models.profile import Profile
from training import baselines, gate, metrics, reliability
from training.bases import Bases, bases_of, product_features, refuse_seen, sketch
from training.challenge import Contender, Trial
from training.dataset import Dataset, build_dataset
from training.exposure import Plays
from training.fit import Fit, Kind, fit_outcome, refit
from training.leaks import Leak, audit, refuse
from training.period import Period, period
from training.rows import Rows, calibration_parts
from training.segments import segments
from training.settings import Task, TrainingSettings, tasks
from training.tracking import Tracker
from training.tuning import tune

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One task's result: its JSON record (interface.md), the model that may serve (None: nothing to fit), the test rows.

    `tested` holds the models of which the record's figures speak: fitted before the test, and never shown a row of it. `trial`
    is what a champion is challenged by, `profile` what the model is watched by.
    """

    record: dict[str, Any]
    model: OutcomeModel | None
    test: pd.DataFrame
    tested: Mapping[Kind, OutcomeModel] = field(default_factory=dict)
    trial: Trial | None = None
    profile: Profile | None = None


def train(
    tables: Mapping[str, Any],
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
    tracker: Tracker,
    horizon_given: bool = False,
    bases: Bases | None = None,
    stage: Callable[[str], None] = lambda name: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Train, test, gate and register every task; return their records (interface.md `kunto train`).

    `bases`: models by name that the boosters start from, in place of the scorecard (`training.bases`). The champion alias moves
    where the gate and the comparison with the champion let a model serve. ValueError where there is nothing to train on or to
    test, or a base has seen the test or answers another question; LeakError where a feature reads the future and is not allowed
    by name.
    """
    chosen = tasks(settings, money="mrr" in tables["subscriptions"].columns, horizon_given=horizon_given)
    brought = bases_of(chosen, bases, settings.event)
    if settings.test_from is not None and settings.test_from >= data_until:
        raise ValueError(
            f"test_from is {settings.test_from:%Y-%m-%d}, and the data end {data_until:%Y-%m-%d}: give an earlier day, or none"
        )
    stage("features")
    horizons = [task.horizon_days for task in chosen]
    also = tracker.product_features(task.name for task in chosen)
    given: dict[str, Any] = {"horizons": horizons, "required": product_features(brought), "also": also}
    data = build_dataset(tables, data_until=data_until, settings=settings, progress=progress, **given)
    stage("leak audit")
    plays = Plays(tables)
    facts: dict[str, Any] = {"data_until": data_until, "settings": settings}
    periods = {task: period(tables, data, task, plays=plays, **facts) for task in chosen}
    if brought:
        refuse_seen(brought, sketch(tables["subscriptions"]), min(cut.start for cut in periods.values()))
    leaks = refuse(
        audit(tables, data, {task: each.known.labelled() for task, each in periods.items()}, **facts), settings.allow_leaks
    )
    records = []
    for task in chosen:
        stage(task.name)
        base = brought[task.name].model if task.name in brought else None
        fitted = train_period(data, task, periods.pop(task), settings=settings, base=base, leaks=leaks, progress=progress)
        records.append(tracker.register(task, fitted.record, fitted.model, fitted.test, fitted.trial, fitted.profile))
    return records


def train_task(
    tables: Mapping[str, Any],
    data: Dataset,
    task: Task,
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
    refit: bool = True,
) -> Fitted:
    """Cut the data in time and train one task, as `train_period` does; nothing is registered."""
    cut = period(tables, data, task, data_until=data_until, settings=settings, plays=Plays(tables))
    return train_period(data, task, cut, settings=settings, serve=refit)


def train_period(
    data: Dataset,
    task: Task,
    cut: Period,
    *,
    settings: TrainingSettings,
    base: OutcomeModel | None = None,
    leaks: list[Leak] | None = None,
    serve: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """Tune where asked to, fit before the test, test, gate; with `serve` refit on all matured rows where the gate lets a model
    serve. The booster starts from the `base`, where there is one. `progress` is that of the tuning."""
    known, test = cut.known.labelled(), cut.test
    fields: dict[str, Any] = {
        "outcome": task.outcome,
        "horizon_days": task.horizon_days,
        "name": task.name,
        "version": None,
        "train": _extent(known, data.spine["as_of"].min(), cut.start),
        "challenge": None,
        "champion": None,
        "leaks_allowed": [leak.record() for leak in leaks or []],
    }
    if not cut.fittable():
        return Fitted(fields | _nothing_to_fit(known, cut, settings), None, pd.DataFrame())

    settings, tuning = _tuned(task, cut.known, data, settings, base, progress)
    fits: dict[Kind, Fit] = {kind: _fit(task, kind, cut.known, data, settings, base) for kind in ("booster", "logistic")}
    p: dict[str, FloatArray] = {kind: fit.model.probability(test.frame) for kind, fit in fits.items()}
    p |= baseline_probabilities(data, cut)
    decision = gate.decide(
        test.y,
        test.accounts,
        known.positive_accounts(),
        booster=p["booster"],
        logistic=p["logistic"],
        tenure_calendar=p["tenure_calendar"],
        seed=settings.seed,
    )
    kind: Kind = "logistic" if decision.serves == "logistic" else "booster"
    chosen, learnt_from = fits[kind], cut.known
    if serve and decision.serves != "health_score":
        # What was tested saw nothing of the test; what serves is fitted again on all that has matured since.
        learnt_from = cut.later
        chosen = refit(task, kind, learnt_from, fits[kind], test, settings=settings.booster, base=base, seed=settings.seed)
    shown = pd.DataFrame({"account_id": test.accounts, "as_of": test.timeline["as_of"], "label": test.y, **p})
    where = segments(data.facts.iloc[cut.test_at], data.frame["tenure_days"].iloc[cut.test_at]).reset_index(drop=True)
    record = (
        fields
        | _tested(data, cut, p, settings)
        | {
            "gate": asdict(decision),
            "tuning": tuning,
            "rounds": fits["booster"].rounds,
            "prior": fits["booster"].prior,
            "calibrators": list(fits[kind].calibrators),
            "reliability": reliability.by_segment(test.y, p[kind], test.accounts, where, seed=settings.seed),
            "plays": _by_exposure(task, test, p[kind]),
        }
    )
    trial = Trial(Contender(fits[kind].model, cut.start), test, where, settings.challenge, settings.seed)
    tested: dict[Kind, OutcomeModel] = {kind: fit.model for kind, fit in fits.items()}
    profile = Profile.of(chosen.model, learnt_from.frame, learnt_from.timeline, learnt_from.y, chosen.predicted)
    return Fitted(record, replace(chosen.model, event=settings.event), shown, tested, trial, profile)


def _fit(task: Task, kind: Kind, rows: Rows, data: Dataset, settings: TrainingSettings, base: OutcomeModel | None = None) -> Fit:
    given: dict[str, Any] = {"settings": settings.booster, "base": base, "seed": settings.seed}
    return fit_outcome(task, kind, rows, product_features=data.product_features, **given)


def _tuned(
    task: Task,
    rows: Rows,
    data: Dataset,
    settings: TrainingSettings,
    base: OutcomeModel | None,
    progress: Callable[[int, int], None],
) -> tuple[TrainingSettings, dict[str, Any] | None]:
    """The settings with the booster tuned for the task, and the record of the tuning (None where none is asked for)."""
    if not settings.tune:
        return settings, None
    tuned = tune(
        task,
        rows,
        trials=settings.tune,
        settings=settings.booster,
        base=base,
        product_features=data.product_features,
        grace_days=settings.grace,
        seed=settings.seed,
        progress=progress,
    )
    return settings.model_copy(update={"booster": tuned.settings}), tuned.record


_NOT_FITTED: dict[str, Any] = {"tuning": None, "rounds": None, "prior": None, "calibrators": [], "reliability": [], "plays": []}


def _nothing_to_fit(known: Rows, cut: Period, settings: TrainingSettings) -> dict[str, Any]:
    """The record's rest where there is nothing to learn from, or to test on: the gate says which."""
    test, same = cut.test, np.zeros(len(cut.test))
    decision = gate.decide(
        test.y,
        test.accounts,
        known.positive_accounts(),
        booster=same,
        logistic=same,
        tenure_calendar=same,
        seed=settings.seed,
    )
    figures = dict.fromkeys(metrics.FIGURES) | {"base_rate": float(test.y.mean()) if len(test) else None}
    return {"test": _extent(test, cut.start, cut.end) | figures, "baselines": {}, "gate": asdict(decision)} | _NOT_FITTED


def _tested(data: Dataset, cut: Period, p: Mapping[str, FloatArray], settings: TrainingSettings) -> dict[str, Any]:
    """The figures of the test period: the booster's, and those of each model beside it."""
    test = cut.test
    value = data.arr(cut.test_at)
    figures = {name: metrics.evaluate(test.y, each, test.accounts, value=value, seed=settings.seed) for name, each in p.items()}
    return {"test": _extent(test, cut.start, cut.end) | figures.pop("booster"), "baselines": figures}


def _by_exposure(task: Task, test: Rows, p: FloatArray) -> list[dict[str, Any]]:
    """Predicted and observed share by what was begun in the horizon: risk is told as if no play were (domain.md §4).

    Only those held out by lot show what would have come of the others.
    """
    if test.exposure is None:
        return []
    span = task.horizon_days // step_length(task.horizon_days) if task.outcome == "churn" else 0
    begun, held_out = test.exposure.begun[:, span] > 0, test.exposure.held_out[:, span] > 0
    groups = {"held_out": held_out & ~begun, "begun": begun, "none": ~begun & ~held_out}
    return [
        {
            "plays": name,
            "rows": int(rows.sum()),
            "accounts": len(set(test.accounts[rows])),
            "mean_p": float(p[rows].mean()) if rows.any() else None,
            "observed": float(test.y[rows].mean()) if rows.any() else None,
        }
        for name, rows in groups.items()
    ]


def baseline_probabilities(data: Dataset, cut: Period) -> dict[str, FloatArray]:
    """Probabilities of the test rows by each baseline, calibrated as the models are: none may win by the others' neglect."""

    def inputs(rows: Rows, positions: npt.NDArray[np.intp]) -> pd.DataFrame:
        return baselines.inputs(rows.frame, rows.timeline["as_of"], data.health.iloc[positions])

    has = ~np.isnan(cut.known.y)
    known = cut.known.take(has)
    seen, asked = replace(known, frame=inputs(known, cut.known_at[has])), inputs(cut.test, cut.test_at)
    parts = list(calibration_parts(seen))
    found = {}
    for fit in (baselines.health_score, baselines.recency, baselines.tenure_calendar):
        margins = [fit(kept.frame, kept.y).raw_score(held.frame) for kept, held in parts]
        calibrator = Platt.fit(np.concatenate(margins), np.concatenate([held.y for _, held in parts]))
        found[fit.__name__] = calibrator(fit(seen.frame, seen.y).raw_score(asked))
    return found


def _extent(rows: Rows, start: pd.Timestamp, end: pd.Timestamp) -> dict[str, Any]:
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "rows": len(rows),
        "accounts": len(set(rows.accounts)),
        "positives": int(rows.y.sum()),
    }
