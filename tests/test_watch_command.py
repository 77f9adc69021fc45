"""`kunto watch`: on a trained company, on one whose source stopped, and where nothing serves."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from features.builder import snapshot
from kunto import jobs
from kunto.workspace import Workspace
from models.profile import PROFILE_FILE, Profile
from models.registry import CHAMPION, SERVING_FILES
from serving.assessment import product_features
from serving.champions import load_champions
from training.dataset import at_risk_rows
from training.watching import SCORE


@pytest.fixture(scope="module")
def workspace(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo company, its tables its own, whose models have profiles of the year before the last four months."""
    place = Workspace(shutil.copytree(demo.path, tmp_path_factory.mktemp("watched") / "workspace"))
    shutil.copytree(demo.tables, place.path / "tables")
    text = place.config_path.read_text(encoding="utf-8")
    short = text.replace(str(demo.tables), "tables") + "\n[watch]\nwait_days = 0\nmonths = 2\n"
    assert short.startswith('[data]\nsource = "tables"\n')
    place.config_path.write_text(
        short.replace("[training.booster]", '[training]\noutcomes = ["churn"]\nallow_leaks = ["usage"]\n\n[training.booster]')
    )
    place = Workspace(place.path)
    company = jobs.open_company(place)
    dates = pd.date_range(company.data_until - pd.DateOffset(months=16), periods=12, freq="MS")
    spine = at_risk_rows(company.tables, dates, data_until=company.data_until, settings=place.settings.training)
    champions = load_champions(place.tracking_uri)
    features = snapshot(company.tables, spine, product_features(champions)).features
    client = mlflow.MlflowClient(tracking_uri=place.tracking_uri)
    for champion in champions.models.values():
        p = champion.model.probability(features)
        profile = Profile.of(champion.model, features, spine, (p > np.median(p)).astype(float), spine[["as_of"]].assign(p=p))
        # The demo's own files are shared: a version of its own takes the profile.
        folder = place.path / champion.name
        (folder / "artifacts" / SERVING_FILES).mkdir(parents=True)
        for name, content in champion.model.to_files().items():
            (folder / "artifacts" / SERVING_FILES / name).write_text(content, encoding="utf-8")
        (folder / "artifacts" / PROFILE_FILE).write_text(profile.to_json(), encoding="utf-8")
        client.create_model_version(champion.name, folder.as_uri(), tags={"gate": "pass"})
        client.set_registered_model_alias(champion.name, CHAMPION, "2")
    return place.path


def test_watch_tells_drift_promises_and_what_is_due(workspace: Path, kunto: Any) -> None:
    told = kunto("watch", "-w", workspace, "--json")
    found = told.json
    assert told.code == (1 if found["raised"] else 0), told.told
    assert found["as_of"] == "2026-07-01T00:00:00"
    assert found["retraining"].keys() == {"due", "why"}
    assert found["trained"] is None
    assert [each["name"] for each in found["models"]] == ["kunto-churn-90d", "kunto-contraction-90d", "kunto-expansion-90d"]
    for each in found["models"]:
        columns = {column["feature"]: column for column in each["drift"]["columns"]}
        assert columns.keys() >= {SCORE}
        assert len(columns) > 50
        assert [month["as_of"][:7] for month in each["performance"]] == ["2026-03", "2026-06", "2026-07"]
        assert [month["mature"] for month in each["performance"]] == [True, False, False]
        assert each["performance"][-1]["rows"] == each["drift"]["accounts"]
    shown = kunto("watch", "-w", workspace)
    assert shown.code == told.code
    assert "raining is due" in shown.told


def test_what_was_trained_is_watched_by_the_profile_that_its_training_kept(demo: Any, kunto: Any) -> None:
    told = kunto("watch", "-w", demo.path, "--json")
    assert told.code in (0, 1), told.told
    for each in told.json["models"]:
        assert (each["version"], each["note"]) == (1, None)
        assert each["drift"]["accounts"] > 50
        assert {month["fit"] for month in each["performance"]} <= {"tested", "served"}


def test_a_source_that_stopped_is_raised_and_training_follows_where_asked(workspace: Path, kunto: Any) -> None:
    path = workspace / "tables" / "usage.parquet"
    usage = pd.read_parquet(path)
    usage[usage["occurred_at"] < "2026-05-15"].to_parquet(path)
    told = kunto("watch", "-w", workspace, "--json")
    assert (told.code, told.json["raised"], told.json["retraining"]["due"]) == (1, True, True), told.told
    for each in told.json["models"]:
        assert any(reason.startswith("usage: ") for reason in each["drift"]["reasons"]), each["drift"]["reasons"]
    assert any(alarm.startswith("usage: ") for each in told.json["models"] for alarm in each["alarms"]), told.json
    trained = kunto("watch", "-w", workspace, "--json", "--retrain")
    assert trained.code == 0, trained.told
    assert [(record["name"], record["version"]) for record in trained.json["trained"]] == [("kunto-churn-90d", 3)]


def test_a_damaged_profile_is_told_by_its_version(workspace: Path, kunto: Any) -> None:
    path = workspace / "kunto-expansion-90d" / "artifacts" / PROFILE_FILE
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"weights"', '"height"'), encoding="utf-8")
    told = kunto("watch", "-w", workspace)
    path.write_text(whole, encoding="utf-8")
    assert told.code == 1
    assert "version 2 of kunto-expansion-90d cannot be watched: ValueError" in told.told
    assert "train again" in told.told


def test_without_a_model_there_is_nothing_to_watch(csv: Any, kunto: Any) -> None:
    told = kunto("watch", "-w", csv())
    assert told.code == 0, told.told
    assert "No model serves yet" in told.told
    assert "Training is due. No model was trained yet." in told.told
