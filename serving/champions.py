"""The models that serve: found in MLflow's registry by the alias `champion`, never by a number; a replay names its versions."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from models.outcome import OutcomeModel
from models.registry import CHAMPION, EXPERIMENT, SERVING_FILES

_FOLDER = f"artifacts/{SERVING_FILES}"
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# A handful of small files: MLflow would draw a progress bar over every log line.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


class ModelError(ValueError):
    """A version that the registry does not have, or whose files cannot be used."""


@dataclass(frozen=True)
class Champion:
    """One serving model with its name and version in the registry."""

    name: str
    version: int
    model: OutcomeModel


@dataclass(frozen=True)
class Champions:
    """Everything that serves, by (outcome, horizon in days); `churn_base_rate`: in the newest training, for when nothing does."""

    models: dict[tuple[str, int], Champion]
    churn_base_rate: float | None

    @property
    def churn(self) -> Champion | None:
        """The churn model, of which there is one per workspace; the one with the longest horizon where there are several."""
        found = sorted((key for key in self.models if key[0] == "churn"), key=lambda key: key[1])
        return self.models[found[-1]] if found else None

    def given_staying(self, outcome: str, horizon_days: int) -> Champion | None:
        """The model of contraction or expansion at the horizon, else at the nearest one there is."""
        found = [key for key in self.models if key[0] == outcome]
        return self.models[min(found, key=lambda key: (abs(key[1] - horizon_days), key[1]))] if found else None

    @property
    def versions(self) -> dict[str, int]:
        """Name → version, by name."""
        return {champion.name: champion.version for champion in sorted(self.models.values(), key=lambda each: each.name)}


def load_champions(tracking_uri: str) -> Champions:
    """Read every model that has the alias; a workspace without training has none. Errors as `load_versions`."""
    return load_versions(tracking_uri, champion_versions(tracking_uri))


def champion_versions(tracking_uri: str) -> dict[str, int]:
    """Which version of each name has the alias: one question to the registry, which reads no model."""
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    found: dict[str, int] = {}
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        found |= {each.name: int(each.aliases[CHAMPION]) for each in page if CHAMPION in each.aliases}
        token = page.token
        if not token:
            return dict(sorted(found.items()))


def load_versions(tracking_uri: str, versions: Mapping[str, int]) -> Champions:
    """Read these versions (name → version), whether or not they serve now.

    Raises ModelError for a version that is not registered or whose files are lacking or damaged, MlflowException where the
    registry cannot be reached.
    """
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    loaded = [Champion(name, version, _model(client, name, version)) for name, version in sorted(versions.items())]
    models: dict[tuple[str, int], Champion] = {}
    for champion in loaded:
        before = models.setdefault((champion.model.outcome, champion.model.horizon_days), champion)
        if before is not champion:
            raise ModelError(
                f"{before.name} and {champion.name} both predict {champion.model.outcome} at {champion.model.horizon_days} days; "
                f"take the alias {CHAMPION!r} from one of them"
            )
    return Champions(models, _base_rate(client))


def _model(client: mlflow.MlflowClient, name: str, version: int) -> OutcomeModel:
    try:
        location = client.get_model_version_download_uri(name, str(version))
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
        raise ModelError(
            f"there is no version {version} of {name!r} in the registry; `kunto models` lists what there is"
        ) from None
    try:
        model = OutcomeModel.from_files(read_texts(client, f"{location}/{_FOLDER}"))
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"version {version} of {name} cannot be used: {told}; train again, or `kunto rollback {name}`"
        ) from error
    return model


def read_texts(client: mlflow.MlflowClient, location: str) -> dict[str, str]:
    """The texts at an artifact's location, a file or a folder of files, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(download_artifacts(location, dst_path=folder, tracking_uri=client.tracking_uri))
        return {each.name: each.read_text(encoding="utf-8") for each in (path.iterdir() if path.is_dir() else [path])}


def _base_rate(client: mlflow.MlflowClient) -> float | None:
    try:
        known = client.get_experiment_by_name(EXPERIMENT)
    except MlflowException:
        return None
    if known is None:
        return None
    runs = client.search_runs(
        [known.experiment_id], "params.outcome = 'churn'", order_by=["attributes.start_time DESC"], max_results=1
    )
    return runs[0].data.metrics.get("train.base_rate") if runs else None
