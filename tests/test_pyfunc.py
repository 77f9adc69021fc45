"""The registered model in stock MLflow: without Kunto installed, by `mlflow models serve`, and asked wrongly."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from small_models import churn_model

from models.answer import QuestionError, answer, answer_columns
from models.column_diff import column_diff
from models.outcome import OutcomeModel
from training.shipped import code_version, digest, log_model, requirements

#: Forgets where this project lies: what a stock installation of MLflow would find.
WITHOUT_KUNTO = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
sys.path_hooks[:] = [hook for hook in sys.path_hooks if "__editable__" not in getattr(hook, "__module__", "")]
sys.path[:] = [entry for entry in sys.path if "__editable__" not in entry]
"""
#: Far more than it takes: on a busy machine a process imports its packages for a minute.
START_SECONDS = 300


@dataclass(frozen=True)
class Logged:
    """A model as it was logged, where its files lie, and rows to ask it about."""

    model: OutcomeModel
    folder: Path
    frame: pd.DataFrame


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("pyfunc")
    model, frame = churn_model()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("pyfunc", artifact_location=(folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        log_model(model, model)
    (found,) = (path.parent for path in folder.rglob("MLmodel"))
    return Logged(model, found, frame)


@pytest.fixture(scope="module")
def loaded(logged: Logged) -> Any:
    return mlflow.pyfunc.load_model(str(logged.folder))


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_pyfunc_answers_as_the_model_does(logged: Logged, loaded: Any) -> None:
    found = loaded.predict(logged.frame)
    pd.testing.assert_frame_equal(found, answer(logged.model, logged.frame), check_exact=True)
    numbers = ["probability", "low", "high", "base_rate", "probability_30d", "probability_90d", "probability_180d"]
    assert found.columns.tolist() == [*numbers, "reasons"]
    assert loaded.metadata.signature.outputs.input_names() == found.columns.tolist()
    assert (found["probability"] == found["probability_90d"]).all()
    assert (found["probability_30d"] < found["probability_180d"]).all()
    assert found["base_rate"].unique().tolist() == [logged.model.base_rates[90]]


def test_the_reasons_add_up_and_speak_both_languages(logged: Logged, loaded: Any) -> None:
    margins = logged.model.explain(logged.frame).raw_score
    for language, word in (("en", "days"), ("fi", "päivää")):
        told = [json.loads(text) for text in loaded.predict(logged.frame, params={"language": language})["reasons"]]
        assert any(word in driver["text"] for record in told for driver in record["drivers"])
        for record, margin in zip(told, margins, strict=True):
            total = record["base_value"] + sum(driver["contribution"] for driver in record["drivers"]) + record["other"]
            assert total == pytest.approx(record["raw_score"], abs=1e-6)
            assert record["raw_score"] == margin
    assert loaded.predict(logged.frame, params={"reasons": False})["reasons"].tolist() == [None] * len(logged.frame)


def test_order_whole_numbers_and_what_else_features_build_gives_are_no_matter(logged: Logged, loaded: Any) -> None:
    rounded = logged.frame.round() + 0.0  # no minus before a zero
    frame = rounded.assign(nps_last=3.0, account_id="a", as_of=pd.Timestamp("2026-01-01"))
    whole = frame[frame.columns[::-1]].astype({"seats": "int64", "products": "Int64"})
    pd.testing.assert_frame_equal(loaded.predict(whole), loaded.predict(rounded))
    unknown = logged.frame.assign(mrr=None)
    assert loaded.predict(unknown)["probability"].notna().all()
    assert loaded.predict(logged.frame.iloc[:0]).shape == (0, 8)
    as_lists = loaded.predict(logged.frame.to_dict("list"))
    pd.testing.assert_frame_equal(as_lists, loaded.predict(logged.frame))


@pytest.mark.parametrize("kind", ["booster", "logistic"])
def test_columns_are_those_announced(kind: Any) -> None:
    model, frame = churn_model(kind)
    assert answer(model, frame, explained=False).columns.tolist() == [*answer_columns(model), "reasons"]
    fortnight = OutcomeModel(**{**vars_of(model), "horizon_days": 14, "base_rates": {14: 0.1}})
    assert answer_columns(fortnight) == ("probability", "low", "high", "base_rate")
    assert answer_columns(OutcomeModel(**{**vars_of(model), "outcome": "expansion"})) == answer_columns(fortnight)


def vars_of(model: OutcomeModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


# --- a wrong frame ---------------------------------------------------------------------------------------------------

WRONG = {
    "missing": (lambda frame: frame.drop(columns=["seats", "mrr"]), "missing: seats, mrr"),
    "misspelt": (
        lambda frame: frame.rename(columns={"seats": "seets"}),
        "missing: seats; unexpected: seets (did you mean seats?)",
    ),
    "extra": (lambda frame: frame.assign(shoe_size=43), "unexpected: shoe_size"),
    "misspelt and not read": (lambda frame: frame.assign(nps_lst=1.0), "unexpected: nps_lst (did you mean nps_last?)"),
    "text": (lambda frame: frame.assign(mrr="much"), "not numbers: mrr (str)"),
    "dates": (lambda frame: frame.assign(mrr=pd.Timestamp("2026-01-01")), "not numbers: mrr (datetime64[us])"),
    "repeated": (lambda frame: pd.concat([frame, frame[["seats"]]], axis=1), "repeated: seats"),
    "nameless": (lambda frame: frame.to_numpy(), "missing: seats, "),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_frame_is_answered_with_the_difference(logged: Logged, loaded: Any, name: str) -> None:
    spoil, told = WRONG[name]
    with pytest.raises(MlflowException) as error:
        loaded.predict(spoil(logged.frame))
    assert f"the frame's columns differ from the 7 that the model reads: {told}" in str(error.value)
    assert error.value.get_http_status_code() == 400


def test_what_is_no_frame_or_asks_for_another_language_is_refused(logged: Logged, loaded: Any) -> None:
    with pytest.raises(MlflowException, match="the input is no table of rows and named columns"):
        loaded.predict("hello")
    with pytest.raises(MlflowException, match="language is 'sv'; give one of en, fi"):
        loaded.predict(logged.frame, params={"language": "sv"})
    with pytest.raises(QuestionError, match="unexpected: x"):
        answer(logged.model, logged.frame.assign(x=1))


def test_long_differences_are_cut() -> None:
    frame = pd.DataFrame({f"odd_{n}": [1.0] for n in range(30)})
    told = str(column_diff(frame, [f"needed_{n}" for n in range(200)]))
    assert "needed_9 and 190 more" in told
    assert "odd_9 and 20 more" in told


def test_a_damaged_booster_is_refused_and_ends_no_process(logged: Logged, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    subprocess.run(["cp", "-r", str(logged.folder), str(copied)], check=True)
    text = copied / "artifacts" / "outcome" / "booster.txt"
    text.write_text(text.read_text(encoding="utf-8")[:-2000], encoding="utf-8")
    with pytest.raises(ValueError, match="the booster's text is damaged"):
        mlflow.pyfunc.load_model(str(copied))


# --- without Kunto ---------------------------------------------------------------------------------------------------


def test_the_model_names_every_package_it_needs_in_its_version(logged: Logged) -> None:
    lines = (logged.folder / "requirements.txt").read_text(encoding="utf-8").split()
    assert {*requirements(), f"mlflow=={mlflow.__version__}"} == {*lines}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = {line.split("==")[0] for line in lines}
    assert names >= {"lightgbm", "numpy", "pandas", "pydantic", "scipy", "scikit-learn", "PyYAML", "babel", "ibis-framework"}
    assert "kunto" not in names


def test_code_travels_without_the_interpreters_copies(logged: Logged) -> None:
    code = logged.folder / "code"
    assert {path.name for path in code.iterdir()} == {"features", "models"}
    assert not [path for path in code.rglob("*") if "__pycache__" in path.parts or path.suffix == ".pyc"]
    assert sum(path.stat().st_size for path in logged.folder.rglob("*") if path.is_file()) < 2_000_000


def test_the_code_version_changes_with_the_code_alone(tmp_path: Path) -> None:
    assert re.fullmatch(r"[\w.]+\+[0-9a-f]{12}", code_version())
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "one.py").write_text("ONE = 1\n", encoding="utf-8")
    before = digest({"package": package})
    (package / "__pycache__" / "one.pyc").write_bytes(b"x")
    assert digest({"package": package}) == before
    assert digest({"other": package}) != before
    (package / "table.yaml").write_text("one: 1\n", encoding="utf-8")
    with_data = digest({"package": package})
    (package / "table.yaml").write_text("one: 2\n", encoding="utf-8")
    assert len({before, with_data, digest({"package": package})}) == 3


def test_the_model_loads_where_kunto_is_not_installed(logged: Logged, loaded: Any, tmp_path: Path) -> None:
    logged.frame.to_parquet(tmp_path / "frame.parquet")
    script = WITHOUT_KUNTO + (
        "import importlib.util, json\n"
        "there = [name for name in ('kunto', 'training', 'models', 'features') if importlib.util.find_spec(name)]\n"
        "import mlflow, pandas\n"
        f"found = mlflow.pyfunc.load_model({str(logged.folder)!r}).predict(pandas.read_parquet('frame.parquet'))\n"
        "import models, features\n"
        "print(json.dumps([there, models.__file__, features.__file__, found.to_dict('list')]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    there, models_file, features_file, found = json.loads(done.stdout)
    assert there == []
    assert Path(models_file).is_relative_to(logged.folder / "code")
    assert Path(features_file).is_relative_to(logged.folder / "code")
    pd.testing.assert_frame_equal(pd.DataFrame(found), loaded.predict(logged.frame), check_dtype=False, check_exact=True)


@pytest.fixture(scope="module")
def address(logged: Logged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve` of the model on a free port of this machine, in an environment without Kunto."""
    folder = tmp_path_factory.mktemp("stock")
    (folder / "sitecustomize.py").write_text(WITHOUT_KUNTO, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Its own interpreter first: the server is started by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    asked = ["models", "serve", "--model-uri", str(logged.folder), "--env-manager", "local", "--port", str(port)]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *asked],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < until, (folder / "log").read_text(encoding="utf-8")
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 15)  # the server is a child of the command
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def split(frame: pd.DataFrame) -> dict[str, Any]:
    return frame.astype(object).where(frame.notna(), None).to_dict("split", index=False)


def test_mlflow_serves_it_reasons_included(logged: Logged, loaded: Any, address: str) -> None:
    frame = logged.frame.iloc[:5].assign(mrr=[1.0, np.nan, 2.0, 3.0, 4.0])
    asked = httpx.post(f"{address}/invocations", json={"dataframe_split": split(frame), "params": {"language": "fi"}}, timeout=60)
    assert asked.status_code == 200, asked.text
    predictions = pd.DataFrame(asked.json()["predictions"])
    pd.testing.assert_frame_equal(predictions, loaded.predict(frame, params={"language": "fi"}), check_dtype=False)
    assert all(json.loads(text)["drivers"] for text in predictions["reasons"])
    quick = {"dataframe_records": frame.fillna(0).to_dict("records"), "params": {"reasons": False}}
    answered = httpx.post(f"{address}/invocations", json=quick, timeout=60)
    assert [row["reasons"] for row in answered.json()["predictions"]] == [None] * 5


def test_mlflow_answers_a_wrong_frame_with_the_difference(logged: Logged, address: str) -> None:
    wrong = logged.frame.iloc[:2].rename(columns={"seats": "seets"}).drop(columns="mrr").assign(tenure_days="long")
    asked = httpx.post(f"{address}/invocations", json={"dataframe_split": split(wrong)}, timeout=60)
    assert asked.status_code == 400
    told = "missing: seats, mrr; unexpected: seets (did you mean seats?); not numbers: tenure_days (str)"
    assert told in asked.json()["message"]
