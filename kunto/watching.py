"""Watching the models that serve: each one's newest months against its reference profile, and what came true of its promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from features.builder import snapshot
from features.catalogue import catalog
from kunto import jobs
from kunto.console import Watch
from kunto.workspace import Workspace
from models.labels import label
from models.profile import PROFILE_FILE, Profile
from models.registry import EXPERIMENT
from serving.assessment import product_features
from serving.champions import Champion, ModelError, load_champions, read_texts
from training.dataset import at_risk_rows, snapshot_dates
from training.expected import performance, shortfalls
from training.watching import DriftReport, Retraining, drift, retraining, watched_dates

_DAY = pd.Timedelta(days=1)
#: A snapshot that falls on the end of the data itself is watched: everything before it is known.
_INSTANT = pd.Timedelta(microseconds=1)


@dataclass(frozen=True)
class Watched:
    """One serving version: `drift` of the newest date (None, and `note` says why, where it cannot be told), and its months."""

    name: str
    version: int
    drift: DriftReport | None
    performance: list[dict[str, Any]] = field(default_factory=list)
    note: str | None = None

    @property
    def alarms(self) -> list[str]:
        """What is raised, in sentences."""
        return [*(self.drift.reasons if self.drift and self.drift.raised else []), *shortfalls(self.performance)]


@dataclass(frozen=True)
class Findings:
    """What a watch found: `as_of`, the newest date watched (None: none yet), and whether to train again."""

    as_of: pd.Timestamp | None
    trained_until: pd.Timestamp | None
    models: list[Watched]
    retraining: Retraining

    @property
    def alarms(self) -> list[str]:
        """What is raised of any model, each sentence after the model's name."""
        return [f"{watched.name}: {alarm}" for watched in self.models for alarm in watched.alarms]

    @property
    def record(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {
            "as_of": self.as_of and self.as_of.isoformat(),
            "trained_until": self.trained_until and self.trained_until.isoformat(),
            "raised": bool(self.alarms),
            "models": [asdict(watched) | {"alarms": watched.alarms} for watched in self.models],
            "retraining": asdict(self.retraining),
        }


def watch_models(workspace: Workspace, company: jobs.Company, watch: Watch, *, months: int | None = None) -> Findings:
    """Build the watched months' features anew from the tables, score them by every champion, and judge.

    It costs what those months cost `kunto train`: one row per account and month. Nothing is written. `months`: how many month
    starts, in place of `[watch] months`; those that have just matured come on top.
    """
    settings, until = workspace.settings, company.data_until
    workspace.require_writable()
    champions = load_champions(workspace.tracking_uri)
    serving = list(champions.models.values())
    found: list[Watched] = []
    dates = _dates(workspace, company, serving, months or settings.watch.months)
    if len(dates):
        watch.stage("watch")
        spine = at_risk_rows(company.tables, dates, data_until=until, settings=settings.training)
        features = snapshot(company.tables, spine, product_features(champions), progress=watch.advance).features
        found = [_watched(workspace, company, champion, spine, features, dates[-1]) for champion in serving]
    trained_until = last_training(workspace)
    age = None if trained_until is None else max(until - trained_until, pd.Timedelta(0)) / _DAY
    alarms = [alarm for watched in found for alarm in watched.alarms]
    return Findings(dates[-1] if len(dates) else None, trained_until, found, retraining(settings.watch, age, alarms))


def last_training(workspace: Workspace) -> pd.Timestamp | None:
    """The end of the data that the newest training saw, None before the first; it may have given no champion."""
    client = mlflow.MlflowClient(tracking_uri=workspace.tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    trained = "params.outcome != ''"
    runs = client.search_runs([experiment.experiment_id], trained, order_by=["attributes.start_time DESC"], max_results=1)
    if not runs:
        return None
    until = runs[0].data.tags.get("data_until")
    return pd.Timestamp(until) if until else pd.Timestamp(runs[0].info.start_time, unit="ms")


def _dates(workspace: Workspace, company: jobs.Company, serving: list[Champion], months: int) -> pd.DatetimeIndex:
    first = company.tables["subscriptions"].started_at.min().execute()
    if pd.isna(first) or not serving:
        return pd.DatetimeIndex([])
    training, until = workspace.settings.training, company.data_until
    return watched_dates(
        snapshot_dates(pd.Timestamp(first), until + _INSTANT, training),
        until,
        [champion.model.horizon_days for champion in serving],
        grace_days=training.grace,
        months=months,
    )


def _watched(
    workspace: Workspace,
    company: jobs.Company,
    champion: Champion,
    spine: pd.DataFrame,
    features: pd.DataFrame,
    newest: pd.Timestamp,
) -> Watched:
    name, version, model = champion.name, champion.version, champion.model
    profile = _profile(workspace, name, version)
    if profile is None:
        return Watched(name, version, None, note="It was registered without a profile; its next version will have one.")
    p = model.probability(features)
    now = (spine["as_of"] == newest).to_numpy(dtype=bool)
    judged = drift(
        profile,
        features[now],
        p[now],
        as_of=newest,
        accounts=spine["account_id"][now],
        sources={feature: declared.source for feature, declared in catalog(model.product_features).items()},
        minimum=workspace.settings.watch.minimum_accounts,
    )
    settings, tables = workspace.settings.training, company.tables
    labels = label(
        tables["subscriptions"],
        spine,
        model.outcome,
        model.horizon_days,
        data_until=company.data_until,
        accounts=tables["accounts"],
        grace_days=settings.grace,
        event=model.event,
        fx=tables.get("fx"),
    )["label"]
    learnt = (spine["as_of"] <= pd.Timestamp(profile.learnt_to)).to_numpy(dtype=bool)
    by_tested = np.zeros(len(spine), dtype=bool)
    with _telling(name, version):
        tested = jobs.open_tracker(workspace).tested(name, version)
    if tested is not None:
        # Of dates that the serving fit has learnt, the fit that was tested tells: it has not.
        by_tested = learnt & (spine["as_of"] >= tested.test_from).to_numpy(dtype=bool)
        p[by_tested] = tested.model.probability(features[by_tested])
    fit = np.where(by_tested, "tested", "served")
    scored = pd.DataFrame({"as_of": spine["as_of"], "p": p, "label": labels, "fit": fit, "learnt": learnt & ~by_tested})
    return Watched(name, version, judged, performance(scored, seed=settings.seed))


def _profile(workspace: Workspace, name: str, version: int) -> Profile | None:
    """The profile that was kept with a version; None for one that was registered before there were any."""
    client = mlflow.MlflowClient(tracking_uri=workspace.tracking_uri)
    try:
        location = client.get_model_version_download_uri(name, str(version))
        text = read_texts(client, f"{location}/artifacts/{PROFILE_FILE}")[PROFILE_FILE]
    except (MlflowException, OSError):
        return None
    with _telling(name, version):
        return Profile.from_json(text)


@contextmanager
def _telling(name: str, version: int) -> Iterator[None]:
    """Tell what damaged files raise as the version's fault."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"version {version} of {name} cannot be watched: {told}; train again") from error
