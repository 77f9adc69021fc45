"""Everything of a training run goes to MLflow, and a model serves only under the alias `champion`."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis
import mlflow
import pandas as pd
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from models.outcome import OutcomeModel
from models.profile import Profile
from models.registry import CHALLENGER, CHAMPION, EXPERIMENT, PREVIOUS, TESTED_FILES
from training.bases import Origin
from training.challenge import Comparison, Contender, Trial, compare, undecided, unopposed
from training.report import model_card, page, plots
from training.settings import Task
from training.shipped import code_version, log_model
from training.tuning import log_study

_MAY_SERVE = ("pass", "signal_no_gain")
_COMPARISON = "challenge.json"
#: What reading a version's files may raise.
_UNREADABLE = (MlflowException, OSError, ValueError, KeyError, TypeError)
#: Tags of a version beside those that say what it was made from.
_GATE, _AUC, _CHALLENGE, _TEST_FROM = "gate", "auc", "challenge", "test_from"
#: What stands between the cells of a row, and for a null: no text that a source holds.
_SEPARATOR, _NULL = "\x1f", "\x1e"

if "MLFLOW_LOGGING_LEVEL" not in os.environ:
    # MLflow tells how it makes its tables; a user who wants to hear it sets MLflow's own variable.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
# A handful of small files: MLflow would draw a progress bar over the command's own.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


class GateError(ValueError):
    """A version that the gate or its comparison does not let serve, or that does not exist."""


def fingerprint(tables: Mapping[str, Any]) -> str:
    """Return a digest of all rows of all tables, whatever their order; equal data, equal text.

    >>> fingerprint({"fx": ibis.memtable(pd.DataFrame({"currency": ["SEK"], "rate": [0.09]}))})[:3]
    'fx:'
    """
    parts = []
    for name in sorted(tables):
        table = tables[name]
        columns = sorted(table.columns)
        cells = [table[column].cast("string").fill_null(_NULL) for column in columns]
        row = ibis.literal(_SEPARATOR).join([ibis.literal(",".join(columns)), *cells])
        # A sum, in 128 bits: equal rows would cancel out in an exclusive or.
        total = ibis._.row.sum().cast("string")
        digest = table.select(row=row.hash()).aggregate(rows=ibis._.count(), total=total).execute().iloc[0]
        parts.append(f"{name}:{int(digest['rows'])}:{int(digest['total'] or 0) % 2**64:016x}")
    return " ".join(parts)


class Tracker:
    """MLflow's tracking store and registry of one workspace (SQLite there by default, a server by URL).

    Every run and version is tagged with what it was made from: `tags` (data, config), the `code`, and the `settings`, a digest
    of `params`.
    """

    def __init__(self, uri: str, artifacts: Path | None, *, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self._uri, self._params = uri, dict(params)
        settings = hashlib.sha256(json.dumps(self._params, sort_keys=True, default=str).encode()).hexdigest()[:12]
        self._tags = dict(tags) | {"code": code_version(), "settings": settings}
        self._experiment = self._experiment_id(artifacts)

    def _experiment_id(self, artifacts: Path | None) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = artifacts.resolve().as_uri() if artifacts else None
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))

    def register(
        self,
        task: Task,
        record: dict[str, Any],
        model: OutcomeModel | None,
        test: pd.DataFrame,
        trial: Trial | None = None,
        profile: Profile | None = None,
    ) -> dict[str, Any]:
        """Log a run and register the model; return the record with its version and, as `challenge`, its comparison in short.

        A version that its gate lets serve becomes `challenger`, and is compared by its `trial` with the champion (`training.
        challenge`); the `champion` alias follows where the comparison lets it, too. Without a trial nothing that can be compared
        is replaced. `profile` is what the model is watched by.
        """
        if trial is not None and model is not None:
            # What is tested answers the same question as what serves.
            answering = replace(trial.challenger.model, event=model.event)
            trial = replace(trial, challenger=replace(trial.challenger, model=answering))
        mlflow.set_tracking_uri(self._uri)
        comparison, record = None, record | {"challenge": None}
        with mlflow.start_run(experiment_id=self._experiment, run_name=task.name, tags=self._tags) as run:
            tuned = log_study(record.get("tuning"))
            mlflow.log_params(self._params | {"outcome": task.outcome, "horizon_days": task.horizon_days} | tuned)
            mlflow.log_metrics(_figures(record))
            if model is not None:
                if record["gate"]["state"] in _MAY_SERVE:
                    comparison = self._compare(task.name, trial)
                    mlflow.log_dict(comparison.record, _COMPARISON)
                    mlflow.set_tag(_CHALLENGE, comparison.state)
                    record["challenge"] = {name: comparison.record[name] for name in ("state", "champion", "reasons")}
                told_tags = {name: value for name, value in self._tags.items() if name != "accounts"}  # digests, for machines
                pictures = plots(test, model, trial=trial, profile=profile)
                for name, figure in pictures.items():
                    mlflow.log_figure(figure, f"plots/{name}.png")
                told = page(task, record, model, pictures, tags=told_tags, profile=profile, comparison=comparison)
                mlflow.log_text(told, "report.html")
                mlflow.log_text(model_card(task, record, model, told_tags), "model_card.md")
                source = log_model(model, trial.challenger.model if trial else None, profile)
                version = self._create_version(task.name, source, run.info.run_id, record, trial, comparison)
                record = record | {"version": int(version.version)}
        if comparison is not None:
            self.client.set_registered_model_alias(task.name, CHALLENGER, str(record["version"]))
            # Another training may have come to its end meanwhile: its version was not the one that was challenged.
            if comparison.passed and self.champion(task.name) == comparison.champion:
                self._let_serve(task.name, record["version"])
        record = record | {"champion": self.champion(task.name)}
        self.client.log_dict(run.info.run_id, record, "record.json")
        return record

    def _create_version(
        self,
        name: str,
        source: str,
        run_id: str,
        record: dict[str, Any],
        trial: Trial | None,
        comparison: Comparison | None,
    ) -> ModelVersion:
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {_GATE: record["gate"]["state"], _AUC: json.dumps(record["test"]["auc"])} | self._tags
        if trial is not None:
            tags[_TEST_FROM] = trial.challenger.test_from.isoformat()
        if comparison is not None:
            tags[_CHALLENGE] = comparison.state
        return self.client.create_model_version(name, source, run_id, tags=tags)

    def _compare(self, name: str, trial: Trial | None) -> Comparison:
        champion = self.champion(name)
        if champion is None:
            return unopposed("No version serves yet.")
        try:
            tested = self.tested(name, champion)
        except _UNREADABLE as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            return undecided(f"The tested fit of champion {champion} cannot be read: {told}.", champion)
        if tested is None:
            return unopposed(f"Champion {champion} was registered without its tested fit.", champion)
        if trial is None:
            return undecided("The version was registered without what it could be compared by.", champion)
        return compare(tested, trial)

    def tested(self, name: str, version: int) -> Contender | None:
        """The fit of a version that was tested, and since when it has seen nothing; None where the version has none.

        Raises ValueError where its files are damaged, MlflowException where they cannot be fetched.
        """
        tags = self._version(name, version).tags
        if _TEST_FROM not in tags:
            return None
        location = self.client.get_model_version_download_uri(name, str(version))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(download_artifacts(f"{location}/artifacts/{TESTED_FILES}", dst_path=folder, tracking_uri=self._uri))
            model = OutcomeModel.from_files({each.name: each.read_text(encoding="utf-8") for each in path.iterdir()})
        return Contender(model, pd.Timestamp(tags[_TEST_FROM]), version)

    def origin(self, name: str, version: int) -> Origin:
        """What a version was made from; GateError where it was registered before that was kept."""
        tags = self._version(name, version).tags
        if not {"data_until", "accounts"} <= tags.keys():
            raise GateError(f"version {version} of {name} does not say what it was made from: train again, and export that one")
        return Origin(name, version, tags["data_until"], tuple(tags["accounts"].split()))

    def product_features(self, names: Iterable[str]) -> tuple[str, ...]:
        """The product's own features that the tested fits of the champions read: rows for a trial must have them, too."""
        found: set[str] = set()
        for name in names:
            champion = self.champion(name)
            with contextlib.suppress(*_UNREADABLE):  # said when it is compared
                tested = None if champion is None else self.tested(name, champion)
                found |= {*tested.model.product_features} if tested else set()
        return tuple(sorted(found))

    def promote(self, name: str, version: int) -> list[str]:
        """Let a version serve, where its gate and its comparison allow it; return what the comparison said.

        An undecided one is a person's to decide. GateError where it may not serve, with the reasons.
        """
        tags = self._may_serve(name, version).tags
        state = tags.get(_CHALLENGE)
        comparison = self.comparison(name, version)
        reasons = comparison.get("reasons", [])
        if state == "failed":
            raise GateError(f"version {version} of {name} may not serve: its comparison failed. {' '.join(reasons)}")
        champion, against = self.champion(name), comparison.get("champion")
        if champion is not None and champion not in (version, against) and _TEST_FROM in self._version(name, champion).tags:
            if against is None:
                raise GateError(
                    f"version {version} of {name} was never compared with champion {champion}: train again, or `kunto rollback`"
                )
            reasons = [*reasons, f"It was compared with version {against}; version {champion} served since."]
        self._let_serve(name, version)
        return reasons

    def _may_serve(self, name: str, version: int) -> ModelVersion:
        found = self._version(name, version)
        state = found.tags.get(_GATE, "unknown")
        if state not in _MAY_SERVE:
            raise GateError(f"version {version} of {name} may not serve: its gate says {state}; see `kunto models`")
        return found

    def _let_serve(self, name: str, version: int) -> None:
        """Move the aliases: `champion` to the version, `previous` to the one before; what serves challenges nobody."""
        before = self.champion(name)
        if before is not None and before != version:
            self.client.set_registered_model_alias(name, PREVIOUS, str(before))
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
        if self._with_alias(name, CHALLENGER) == version:
            self.client.delete_registered_model_alias(name, CHALLENGER)

    def rollback(self, name: str) -> int:
        """Give `champion` back to the version before; GateError where there is none. Returns that version."""
        before = self._with_alias(name, PREVIOUS)
        if before is None:
            raise GateError(f"{name} has no earlier champion to go back to; see `kunto models`")
        self._may_serve(name, before)
        self._let_serve(name, before)
        return before

    def champion(self, name: str) -> int | None:
        """The version that serves, if any."""
        return self._with_alias(name, CHAMPION)

    def _with_alias(self, name: str, alias: str) -> int | None:
        try:
            return int(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException:
            return None

    def comparison(self, name: str, version: int) -> dict[str, Any]:
        """What `training.challenge.Comparison.record` told of a version; empty where there is none, or its run is gone."""
        found = self._version(name, version)
        if _CHALLENGE not in found.tags or not found.run_id:
            return {}
        try:
            location = f"{self.client.get_run(found.run_id).info.artifact_uri}/{_COMPARISON}"
            with tempfile.TemporaryDirectory() as folder:
                text = Path(download_artifacts(location, dst_path=folder, tracking_uri=self._uri)).read_text(encoding="utf-8")
        except (MlflowException, OSError):
            return {}
        record: dict[str, Any] = json.loads(text)
        return record

    def versions(self) -> list[dict[str, Any]]:
        """Every registered version, newest first per name: name, version, gate, challenge, auc, test_from, aliases, created."""
        found = []
        for registered in self.client.search_registered_models():
            aliases = {alias: int(version) for alias, version in registered.aliases.items()}
            for version in self.client.search_model_versions(f"name='{registered.name}'"):
                number = int(version.version)
                found.append(
                    {
                        "name": registered.name,
                        "version": number,
                        "gate": version.tags.get(_GATE),
                        "challenge": version.tags.get(_CHALLENGE),
                        "auc": json.loads(version.tags.get(_AUC, "null")),
                        "test_from": version.tags.get(_TEST_FROM),
                        "aliases": sorted(alias for alias, at in aliases.items() if at == number),
                        "created": pd.Timestamp(version.creation_timestamp, unit="ms").isoformat(timespec="seconds"),
                    }
                )
        return sorted(found, key=lambda row: (row["name"], -row["version"]))

    def _version(self, name: str, version: int) -> ModelVersion:
        try:
            return self.client.get_model_version(name, str(version))
        except MlflowException:
            known = ", ".join(sorted({f"{row['name']} {row['version']}" for row in self.versions()})) or "none"
            raise GateError(f"there is no version {version} of {name!r}; registered: {known}") from None


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a record by one name: the test's own as they are, the others after what they belong to."""
    train = record["train"]
    groups = {"": record["test"], "train.": dict(train), **{f"{name}.": each for name, each in record["baselines"].items()}}
    if train["rows"]:
        groups["train."]["base_rate"] = train["positives"] / train["rows"]
    return {f"{group}{key}": v for group, each in groups.items() for key, v in each.items() if isinstance(v, int | float)}
