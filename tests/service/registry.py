"""A registry of small models, made by hand: no training."""

import tempfile
from functools import cache
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from models.booster import BoosterSettings, fit_booster
from models.calibration import Platt, Precision
from models.hazard import CARRIED, STEP
from models.labels import Outcome
from models.linear import LinearModel, Term
from models.outcome import OutcomeModel
from models.registry import CHAMPION

CHURN, CONTRACTION = "kunto-churn-90d", "kunto-contraction-90d"


def outcome_model(outcome: Outcome, base: float = -2.0, scorer: object = None) -> OutcomeModel:
    """A logistic model (or another scorer) whose level tells one version from the next."""
    columns = ("days_since_last_use", *CARRIED, STEP) if outcome == "churn" else ("days_since_last_use", "mrr")
    term = Term("days_since_last_use", 0.0, 60.0, fill=5.0, mean=0.2, coefficient=1.5)
    return OutcomeModel(
        outcome,
        90,
        scorer or LinearModel(columns, base, (term,)),  # type: ignore[arg-type]
        Platt(0.0, 1.0),
        Precision((0.3,), (0, 7)),
        {90: 0.06},
    )


def boosted(outcome: Outcome, seed: int = 0) -> OutcomeModel:
    """A small booster."""
    rng = np.random.default_rng(seed)
    columns = outcome_model(outcome).scorer.columns
    frame = pd.DataFrame(rng.exponential(10, (200, len(columns))), columns=list(columns))
    settings = BoosterSettings(rounds=8, learning_rate=0.3)
    return outcome_model(outcome, scorer=fit_booster(frame, frame["days_since_last_use"] > 12, directions={}, settings=settings))


@cache
def _empty() -> bytes:
    """A registry of nothing: MLflow takes seconds to make its tables, so they are made once and copied."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_registered_models()
        return path.read_bytes()


class Registry:
    """MLflow's registry in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        (folder / "mlflow.db").write_bytes(_empty())
        self.client = mlflow.MlflowClient(tracking_uri=self.uri)

    def add(self, name: str, model: OutcomeModel, *, champion: bool = True, **damaged: str) -> int:
        """Register a version, some of its files replaced, and return its number."""
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        number = len(self.client.search_model_versions(f"name = '{name}'")) + 1
        place = self.folder / f"{name}-{number}"
        (place / "artifacts" / "outcome").mkdir(parents=True)
        for file, text in (model.to_files() | damaged).items():
            (place / "artifacts" / "outcome" / file).write_text(text, encoding="utf-8")
        version = self.client.create_model_version(name, place.as_uri(), tags={"gate": "pass", "data": "d1", "code": "0.1.0"})
        assert int(version.version) == number
        if champion:
            self.promote(name, number)
        return number

    def promote(self, name: str, version: int) -> None:
        """Move the alias, past any gate."""
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
