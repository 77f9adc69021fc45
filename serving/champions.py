"""The models that serve: found in MLflow's registry by the alias `champion`, never by a number."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from models.outcome import OutcomeModel

CHAMPION = "champion"
_FOLDER = "artifacts/outcome"


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


def load_champions(tracking_uri: str, experiment: str = "kunto") -> Champions:
    """Read every model that has the alias; a workspace without training has none."""
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    found: dict[tuple[str, int], Champion] = {}
    for registered in client.search_registered_models():
        if CHAMPION not in registered.aliases:
            continue
        version = client.get_model_version_by_alias(registered.name, CHAMPION)
        location = client.get_model_version_download_uri(registered.name, version.version)
        folder = Path(download_artifacts(artifact_uri=f"{location}/{_FOLDER}", tracking_uri=tracking_uri))
        files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
        model = OutcomeModel.from_files(files)
        found[model.outcome, model.horizon_days] = Champion(registered.name, int(version.version), model)
    return Champions(found, _base_rate(client, experiment))


def _base_rate(client: mlflow.MlflowClient, experiment: str) -> float | None:
    try:
        known = client.get_experiment_by_name(experiment)
    except MlflowException:
        return None
    if known is None:
        return None
    runs = client.search_runs(
        [known.experiment_id], "params.outcome = 'churn'", order_by=["attributes.start_time DESC"], max_results=1
    )
    return runs[0].data.metrics.get("train.base_rate") if runs else None
