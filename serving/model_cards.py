"""What is known of a registered version beside the model itself: where it comes from, how it tested, its card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.champions import Champion, read_texts

_CARD, _RECORD = "model_card.md", "record.json"
#: The tags of a version that say what it was trained on.
_ORIGINS = ("data", "config", "code")


@dataclass(frozen=True)
class ModelCard:
    """A champion's origin. `record` is what `kunto train --json` told of it, `text` its card in Markdown.

    `registered_at` is naive UTC. What the registry does not have (a version registered by hand) is None or empty.
    """

    champion: Champion
    registered_at: datetime
    gate: str | None
    trained_on: Mapping[str, str]
    record: Mapping[str, Any]
    text: str | None


def read_card(tracking_uri: str, champion: Champion) -> ModelCard:
    """Read the card of one version; MlflowException where the registry cannot be reached."""
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    version = client.get_model_version(champion.name, str(champion.version))
    record = _artifact(client, version, _RECORD)
    return ModelCard(
        champion,
        datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).replace(tzinfo=None),
        version.tags.get("gate"),
        {origin: version.tags[origin] for origin in _ORIGINS if origin in version.tags},
        json.loads(record) if record else {},
        _artifact(client, version, _CARD),
    )


def _artifact(client: mlflow.MlflowClient, version: ModelVersion, name: str) -> str | None:
    """A text among the artifacts of the version's run; None where there is none, which keeps no model from serving."""
    if not version.run_id:
        return None
    try:
        location = client.get_run(version.run_id).info.artifact_uri
        return read_texts(client, f"{location}/{name}")[name]
    except (MlflowException, OSError):
        return None
