"""Other model servers over the same booster, each as its documentation says, answering the bare probability.

`mlflow` is in Kunto's own environment; the others conflict with its pins and are measured where an environment of theirs is
named: see README.md beside this file.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import mlflow
from mlflow.models import infer_signature

Values = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Peer:
    """One server: how its model is written into a folder and served (`{port}` is filled in), what it is asked, when ready."""

    name: str
    prepare: Callable[[lgb.Booster, Sequence[str], Path], tuple[list[str], Path]]
    path: str
    body: Callable[[Sequence[str], Sequence[float | None]], dict[str, Any]]
    ready: str

    def asked(self, address: str, columns: Sequence[str], values: Values) -> dict[str, Any]:
        """What the load generator asks it: one account per request."""
        bodies = [json.dumps(self.body(columns, row)) for row in values]
        headers = {"content-type": "application/json"}
        return {"method": "POST", "urls": [f"{address}{self.path}"], "headers": headers, "bodies": bodies}


def _mlflow(booster: lgb.Booster, columns: Sequence[str], folder: Path) -> tuple[list[str], Path]:
    # with the signature that MLflow's documentation advises; it checks and casts every column of each request
    path = folder / "mlflow_model"
    example = _frame(columns)
    mlflow.lightgbm.save_model(booster, str(path), signature=infer_signature(example, booster.predict(example)))
    return [*_MLFLOW, str(path)], folder


def _mlflow_bare(booster: lgb.Booster, columns: Sequence[str], folder: Path) -> tuple[list[str], Path]:  # noqa: ARG001
    # without a signature nothing is checked: the fastest that it gets
    path = folder / "mlflow_bare_model"
    mlflow.lightgbm.save_model(booster, str(path))
    return [*_MLFLOW, str(path)], folder


_MLFLOW = [
    sys.executable,
    "-m",
    "mlflow",
    "models",
    "serve",
    "--env-manager",
    "local",
    "-h",
    "127.0.0.1",
    "-w",
    "1",
    "-p",
    "{port}",
    "-m",
]


def _frame(columns: Sequence[str]) -> Any:
    import pandas as pd

    return pd.DataFrame([[0.5] * len(columns)], columns=list(columns))


def _filled(columns: Sequence[str], row: Sequence[float | None]) -> dict[str, Any]:
    # without a signature a null makes its column one of objects, which LightGBM refuses
    return _split(columns, [0.0 if value is None else value for value in row])


def _split(columns: Sequence[str], row: Sequence[float | None]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(columns), "data": [list(row)]}}


def _mlserver(booster: lgb.Booster, columns: Sequence[str], folder: Path) -> tuple[list[str], Path]:  # noqa: ARG001
    place = folder / "mlserver"
    place.mkdir()
    booster.save_model(place / "model.bst")
    settings = {"name": "churn", "implementation": "mlserver_lightgbm.LightGBMModel", "parameters": {"uri": "./model.bst"}}
    (place / "model-settings.json").write_text(json.dumps(settings))
    served = {"host": "127.0.0.1", "http_port": "{port}", "grpc_port": 0, "metrics_port": 0, "parallel_workers": 0}
    (place / "settings.json").write_text(json.dumps(served))
    return [str(Path(os.environ["KUNTO_MLSERVER"]) / "mlserver"), "start", str(place)], place


def _v2(columns: Sequence[str], row: Sequence[float | None]) -> dict[str, Any]:
    return {
        "inputs": [{"name": "x", "shape": [1, len(columns)], "datatype": "FP64", "data": [0.0 if v is None else v for v in row]}]
    }


def _bentoml(booster: lgb.Booster, columns: Sequence[str], folder: Path) -> tuple[list[str], Path]:  # noqa: ARG001
    place = folder / "bento"
    place.mkdir()
    booster.save_model(place / "model.txt")
    (place / "service.py").write_text(Path(__file__).with_name("bento_service.txt").read_text(encoding="utf-8"))
    command = [
        str(Path(os.environ["KUNTO_BENTOML"]) / "bentoml"),
        "serve",
        "service:Churn",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
    ]
    return command, place


PEERS = (
    Peer("mlflow", _mlflow, "/invocations", _split, "/ping"),
    Peer("mlflow without a signature", _mlflow_bare, "/invocations", _filled, "/ping"),
)
#: Environment variable that names the folder of the server's executables → the peer.
OTHERS = {
    "KUNTO_MLSERVER": Peer("MLServer", _mlserver, "/v2/models/churn/infer", _v2, "/v2/health/ready"),
    "KUNTO_BENTOML": Peer("BentoML", _bentoml, "/predict", lambda columns, row: {"rows": [list(row)]}, "/readyz"),
}
