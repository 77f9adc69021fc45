"""The registered model as MLflow loads it (models from code): features in, probability with its interval out."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from models.outcome import OutcomeModel


class Served(mlflow.pyfunc.PythonModel):
    """One outcome's model behind MLflow's pyfunc interface."""

    def load_context(self, context: Any) -> None:
        """Read the texts that the model was registered with."""
        folder = Path(context.artifacts["outcome"])
        self.model = OutcomeModel.from_files({path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()})

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return probability, low and high per row of features (columns of the catalogue)."""
        p = self.model.probability(model_input)
        low, high = self.model.precision.interval(p)
        return pd.DataFrame({"probability": p, "low": low, "high": high}, index=model_input.index)


mlflow.models.set_model(Served())
