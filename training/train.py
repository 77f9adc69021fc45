"""The main job of training: every task fitted, tested on later rows, gated, refitted and registered."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.calibration import Calibrator
from models.labels import outcome_labels, timeline
from models.outcome import OutcomeModel
from training import baselines, gate, metrics
from training.dataset import Dataset, build_dataset, snapshot_dates, test_period
from training.fit import Kind, Rows, calibration_parts, fit_outcome
from training.settings import Task, TrainingSettings, tasks
from training.tracking import Tracker

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One task's result: its JSON record (interface.md), the model that may serve (None: nothing to fit), the test rows.

    `tested` holds the models of which the record's figures speak: fitted before the test, and never shown a row of it.
    """

    record: dict[str, Any]
    model: OutcomeModel | None
    test: pd.DataFrame
    tested: Mapping[Kind, OutcomeModel] = field(default_factory=dict)


def train(
    tables: Mapping[str, Any],
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
    tracker: Tracker,
    horizon_given: bool = False,
    stage: Callable[[str], None] = lambda name: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Train, test, gate and register every task; return their records (interface.md `kunto train`).

    The champion alias moves where the gate lets a model serve. ValueError where there is nothing to train on.
    """
    chosen = tasks(settings, money="mrr" in tables["subscriptions"].columns, horizon_given=horizon_given)
    if not chosen:
        raise ValueError("no outcome to train: contraction and expansion need subscriptions.mrr; train churn, or map the prices")
    stage("features")
    horizons = [task.horizon_days for task in chosen]
    data = build_dataset(tables, data_until=data_until, settings=settings, horizons=horizons, progress=progress)
    records = []
    for task in chosen:
        stage(task.name)
        fitted = train_task(tables, data, task, data_until=data_until, settings=settings)
        records.append(tracker.register(task, fitted.record, fitted.model, fitted.test))
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
    """Fit before the test, test, gate; refit on all matured rows where the gate lets a model serve, unless told not to."""
    dates = snapshot_dates(data.spine["as_of"].min(), data_until, settings)
    test_from, test_to = test_period(dates, data_until, task.horizon_days, settings)
    known, at = _labelled(tables, data, task, min(test_from, data_until), settings)
    later, test_at = _labelled(tables, data, task, data_until, settings)
    inside = ((later.timeline["as_of"] >= test_from) & (later.timeline["as_of"] < test_to)).to_numpy(dtype=bool)
    test, test_at = later.take(inside), test_at[inside]

    fit = _fitter(task, data, settings)
    fields: dict[str, Any] = {
        "outcome": task.outcome,
        "horizon_days": task.horizon_days,
        "name": task.name,
        "version": None,
        "train": _extent(known, data.spine["as_of"].min(), test_from),
    }
    if not known.y.any() or known.y.all() or len(set(known.accounts)) < 2 or not len(test):
        empty = np.zeros(len(test))
        decision = gate.decide(
            test.y,
            test.accounts,
            known.positive_accounts(),
            booster=empty,
            logistic=empty,
            tenure_calendar=empty,
            seed=settings.seed,
        )
        base_rate = float(test.y.mean()) if len(test) else None
        figures = {"base_rate": base_rate} | dict.fromkeys(_FIGURES)
        none = {"test": _extent(test, test_from, test_to) | figures, "baselines": {}, "gate": asdict(decision)}
        return Fitted(fields | none, None, pd.DataFrame())

    models: dict[Kind, OutcomeModel] = {kind: fit(kind, known) for kind in ("booster", "logistic")}
    p: dict[str, FloatArray] = {kind: model.probability(test.frame) for kind, model in models.items()}
    p |= _baselines(data, known, at, test, test_at)
    decision = gate.decide(
        test.y,
        test.accounts,
        known.positive_accounts(),
        booster=p["booster"],
        logistic=p["logistic"],
        tenure_calendar=p["tenure_calendar"],
        seed=settings.seed,
    )
    figures = {name: metrics.evaluate(test.y, values, test.accounts, seed=settings.seed) for name, values in p.items()}
    serving: Kind = "logistic" if decision.serves == "logistic" else "booster"
    # What was tested saw nothing of the test; what serves is fitted again on all that has matured since.
    model = fit(serving, later) if refit and decision.serves != "health_score" else models[serving]
    model = replace(model, event=settings.event)
    record = fields | {
        "test": _extent(test, test_from, test_to) | figures.pop("booster"),
        "baselines": figures,
        "gate": asdict(decision),
    }
    shown = pd.DataFrame({"account_id": test.accounts, "as_of": test.timeline["as_of"], "label": test.y, **p})
    return Fitted(record, model, shown, models)


_FIGURES = (
    "auc",
    "auc_low",
    "auc_high",
    "average_precision",
    "lift_top_decile",
    "log_loss",
    "brier",
    "ece",
    "calibration_slope",
    "empc",
)


def _fitter(task: Task, data: Dataset, settings: TrainingSettings) -> Callable[[Kind, Rows], OutcomeModel]:
    def fit(kind: Kind, rows: Rows) -> OutcomeModel:
        return fit_outcome(
            task,
            kind,
            rows,
            product_features=data.product_features,
            settings=settings.booster,
            seed=settings.seed,
        )

    return fit


def _labelled(
    tables: Mapping[str, Any], data: Dataset, task: Task, until: pd.Timestamp, settings: TrainingSettings
) -> tuple[Rows, npt.NDArray[np.intp]]:
    """Rows with a label by what is known at `until`, and their positions in the dataset."""
    facts: dict[str, Any] = {
        "data_until": until,
        "accounts": tables["accounts"],
        "grace_days": settings.grace,
        "event": settings.event,
        "fx": tables.get("fx"),
    }
    at_horizon = timeline(tables["subscriptions"], data.spine, horizon_days=task.horizon_days, **facts)
    labels = outcome_labels(at_horizon, task.outcome, task.horizon_days)["label"]
    # The hazard looks as far as anything is settled, not to the horizon.
    found = at_horizon if task.outcome != "churn" else timeline(tables["subscriptions"], data.spine, **facts)
    has = np.flatnonzero(labels.notna().to_numpy())
    mrr, later = (at_horizon[name].astype("float64").to_numpy()[has] for name in ("mrr", "mrr_at_horizon"))
    change = np.divide(later - mrr, mrr, out=np.zeros(len(has)), where=mrr > 0)
    rows = Rows(
        data.frame.iloc[has].reset_index(drop=True),
        found.iloc[has].reset_index(drop=True),
        labels.to_numpy(dtype="float64", na_value=np.nan)[has],
        change,
    )
    return rows, has


def _baselines(
    data: Dataset,
    known: Rows,
    at: npt.NDArray[np.intp],
    test: Rows,
    test_at: npt.NDArray[np.intp],
) -> dict[str, FloatArray]:
    """Probabilities of the test rows by each baseline, calibrated as the models are: none may win by the others' neglect."""

    def inputs(rows: Rows, positions: npt.NDArray[np.intp]) -> pd.DataFrame:
        return baselines.inputs(rows.frame, rows.timeline["as_of"], data.health.iloc[positions])

    seen, asked = replace(known, frame=inputs(known, at)), inputs(test, test_at)
    parts = list(calibration_parts(seen))
    found = {}
    for fit in (baselines.health_score, baselines.recency, baselines.tenure_calendar):
        margins = [fit(kept.frame, kept.y).raw_score(held.frame) for kept, held in parts]
        calibrator = Calibrator.fit(np.concatenate(margins), np.concatenate([held.y for _, held in parts]))
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
