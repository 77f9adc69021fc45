"""The registered model as MLflow loads it (models from code): features in, probability, interval and reasons out.

It runs wherever MLflow does, with the copies of `features` and `models` that were registered with it.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from models.answer import QuestionError, answer
from models.outcome import OutcomeModel


class Served(mlflow.pyfunc.PythonModel):
    """One outcome's model behind MLflow's pyfunc interface."""

    def load_context(self, context: Any) -> None:
        """Read the texts that the model was registered with; ValueError where they are damaged."""
        folder = Path(context.artifacts["outcome"])
        self.model = OutcomeModel.from_files({path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()})

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return the columns of `models.answer.answer`; MlflowException, which a server hands on, where the input is wrong.

        `params`: `reasons` (true; false is faster by far where there are many rows) and `language` (en, fi).
        """
        chosen = params or {}
        try:
            frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        except (ValueError, TypeError) as error:
            raise MlflowException.invalid_parameter_value(f"the input is no table of rows and named columns: {error}") from error
        try:
            return answer(self.model, frame, explained=chosen.get("reasons", True), language=chosen.get("language", "en"))
        except QuestionError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


mlflow.models.set_model(Served())
