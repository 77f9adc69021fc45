"""Everything of a training run goes to MLflow, and a model serves only under the alias `champion`."""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ibis
import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from models.outcome import OutcomeModel
from models.registry import CHAMPION, EXPERIMENT, PREVIOUS
from training.report import model_card, plots
from training.settings import Task

_SERVED = Path(__file__).with_name("served.py")
_NEEDS = ("lightgbm", "numpy", "pandas", "pydantic", "scipy")
_MAY_SERVE = ("pass", "signal_no_gain")
_OUTPUTS = ("probability", "low", "high")
#: What stands between the cells of a row, and for a null: no text that a source holds.
_SEPARATOR, _NULL = "\x1f", "\x1e"

if "MLFLOW_LOGGING_LEVEL" not in os.environ:
    # MLflow tells how it makes its tables; a user who wants to hear it sets MLflow's own variable.
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class GateError(ValueError):
    """A version that the gate does not let serve, or that does not exist."""


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
    """MLflow's tracking store and registry of one workspace (SQLite there by default, a server by URL)."""

    def __init__(self, uri: str, artifacts: Path | None, *, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self._uri, self._tags, self._params = uri, dict(tags), dict(params)
        self._experiment = self._experiment_id(artifacts)

    def _experiment_id(self, artifacts: Path | None) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = artifacts.resolve().as_uri() if artifacts else None
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))

    def register(self, task: Task, record: dict[str, Any], model: OutcomeModel | None, test: pd.DataFrame) -> dict[str, Any]:
        """Log a run, register the model, and let `champion` follow where the gate allows; return the record with its version."""
        mlflow.set_tracking_uri(self._uri)
        with mlflow.start_run(experiment_id=self._experiment, run_name=task.name, tags=self._tags) as run:
            mlflow.log_params(self._params | {"outcome": task.outcome, "horizon_days": task.horizon_days})
            mlflow.log_metrics(_figures(record))
            if model is not None:
                for name, figure in plots(test, model).items():
                    mlflow.log_figure(figure, f"plots/{name}.png")
                mlflow.log_text(model_card(task, record, model, self._tags), "model_card.md")
                version = self._create_version(task.name, self._log_model(model), run.info.run_id, record)
                record = record | {"version": int(version.version)}
            mlflow.log_dict(record, "record.json")
        if record["version"] is not None and record["gate"]["state"] in _MAY_SERVE:
            self.promote(task.name, record["version"])
        return record

    def _log_model(self, model: OutcomeModel) -> str:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "outcome"
            folder.mkdir()
            for name, text in model.to_files().items():
                (folder / name).write_text(text, encoding="utf-8")
            with warnings.catch_warnings():
                # An example would be a customer's row, kept with the model for ever.
                warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
                logged = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(_SERVED),
                    artifacts={"outcome": str(folder)},
                    signature=_signature(model),
                    pip_requirements=list(_NEEDS),
                )
        return str(logged.model_uri)

    def _create_version(self, name: str, source: str, run_id: str, record: dict[str, Any]) -> ModelVersion:
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {"gate": record["gate"]["state"], "auc": json.dumps(record["test"]["auc"])} | self._tags
        return self.client.create_model_version(name, source, run_id, tags=tags)

    def promote(self, name: str, version: int) -> None:
        """Move `champion` to a version that the gate let serve; GateError otherwise."""
        found = self._version(name, version)
        state = found.tags.get("gate", "unknown")
        if state not in _MAY_SERVE:
            raise GateError(f"version {version} of {name} may not serve: its gate says {state}; see `kunto models`")
        before = self.champion(name)
        if before is not None and before != version:
            self.client.set_registered_model_alias(name, PREVIOUS, str(before))
        self.client.set_registered_model_alias(name, CHAMPION, str(version))

    def rollback(self, name: str) -> int:
        """Give `champion` back to the version before; GateError where there is none. Returns that version."""
        try:
            before = int(self.client.get_model_version_by_alias(name, PREVIOUS).version)
        except MlflowException:
            raise GateError(f"{name} has no earlier champion to go back to; see `kunto models`") from None
        self.promote(name, before)
        return before

    def champion(self, name: str) -> int | None:
        """The version that serves, if any."""
        try:
            return int(self.client.get_model_version_by_alias(name, CHAMPION).version)
        except MlflowException:
            return None

    def versions(self) -> list[dict[str, Any]]:
        """Every registered version, newest first per name: name, version, gate, auc, aliases, created."""
        found = []
        for registered in self.client.search_registered_models():
            aliases = {alias: int(version) for alias, version in registered.aliases.items()}
            for version in self.client.search_model_versions(f"name='{registered.name}'"):
                number = int(version.version)
                found.append(
                    {
                        "name": registered.name,
                        "version": number,
                        "gate": version.tags.get("gate"),
                        "auc": json.loads(version.tags.get("auc", "null")),
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


def _signature(model: OutcomeModel) -> ModelSignature:
    return ModelSignature(*(Schema([ColSpec("double", name) for name in names]) for names in (model.inputs, _OUTPUTS)))


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a record by one name: the test's own as they are, the others after what they belong to."""
    train = record["train"]
    groups = {"": record["test"], "train.": dict(train), **{f"{name}.": each for name, each in record["baselines"].items()}}
    if train["rows"]:
        groups["train."]["base_rate"] = train["positives"] / train["rows"]
    return {f"{group}{key}": v for group, each in groups.items() for key, v in each.items() if isinstance(v, int | float)}
