"""Versions in the registry: which serves, which challenges, what they are compared by, and what they were made from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from small_models import EXPANSION, TEST_FROM, YEAR_BEFORE, made_rows

from kunto.workspace import Workspace
from models.outcome import OutcomeModel
from models.profile import PROFILE_FILE, Profile
from models.registry import CHALLENGER, CHAMPION, PREVIOUS, SERVING_FILES, TESTED_FILES
from training.challenge import Contender, Trial
from training.fit import fit_outcome
from training.metrics import evaluate
from training.rows import Rows
from training.shipped import code_version
from training.tracking import GateError, Tracker

NAME = EXPANSION.name
TRAIN, _ = made_rows(800, YEAR_BEFORE, seed=1)
TEST, PLANS = made_rows(800, TEST_FROM, seed=2)
NO_OUTCOME = replace(TEST, y=np.zeros(len(TEST)))


def fitted(rows: Rows, seed: int = 0) -> OutcomeModel:
    return fit_outcome(EXPANSION, "logistic", rows, seed=seed).model


GOOD = fitted(TRAIN)
#: What serves is never what is tested: fitted on the test rows, too.
SERVING = fitted(TEST)
WORSE = fitted(replace(TRAIN, y=np.random.default_rng(3).permutation(TRAIN.y)))


FIGURES = evaluate(TEST.y, GOOD.probability(TEST.frame), TEST.accounts, seed=0)


def record_of(state: str = "pass") -> dict[str, Any]:
    extent = {"from": YEAR_BEFORE.isoformat(), "to": TEST_FROM.isoformat(), "rows": 9, "accounts": 9, "positives": 3}
    return {
        "outcome": EXPANSION.outcome,
        "horizon_days": EXPANSION.horizon_days,
        "name": NAME,
        "version": None,
        "train": extent,
        "test": extent | FIGURES,
        "baselines": {},
        "gate": {"state": state, "passed": state == "pass", "reasons": ["It serves."]},
    }


SHOWN = pd.DataFrame(
    {"account_id": TEST.accounts, "as_of": TEST.timeline["as_of"], "label": TEST.y}
    | {name: GOOD.probability(TEST.frame) for name in ("booster", "logistic", "health_score", "recency", "tenure_calendar")}
).head(300)


def trial(model: OutcomeModel = GOOD, rows: Rows = TEST, test_from: pd.Timestamp = TEST_FROM) -> Trial:
    return Trial(Contender(model, test_from), rows, PLANS)


def open_tracker(folder: Path) -> Tracker:
    return Tracker(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", tags={"data": "d1", "config": "c1"}, params={})


def register(tracker: Tracker, given: Trial | None, state: str = "pass") -> int:
    return tracker.register(EXPANSION, record_of(state), SERVING, SHOWN, given)["version"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: making its tables takes longer than any test."""
    folder = tmp_path_factory.mktemp("empty")
    open_tracker(folder)
    return folder


@pytest.fixture(scope="module")
def begun(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose version 1 serves. Copies of its database share its files, which are only added to."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copy(empty / "mlflow.db", folder)
    assert register(open_tracker(folder), trial()) == 1
    return folder


@pytest.fixture
def new(empty: Path, tmp_path: Path) -> Tracker:
    """A store of its own in which nothing is registered."""
    shutil.copy(empty / "mlflow.db", tmp_path)
    return open_tracker(tmp_path)


@pytest.fixture
def tracker(begun: Path, tmp_path: Path) -> Tracker:
    """A store of its own whose version 1 serves."""
    shutil.copy(begun / "mlflow.db", tmp_path)
    return open_tracker(tmp_path)


def aliases(tracker: Tracker) -> dict[str, int]:
    return {alias: int(version) for alias, version in tracker.client.get_registered_model(NAME).aliases.items()}


def artifact(tracker: Tracker, version: int, name: str) -> Path:
    location = tracker.client.get_model_version_download_uri(NAME, str(version))
    return Path(download_artifacts(f"{location}/artifacts/{name}", tracking_uri=tracker.client.tracking_uri))


# --- who serves ------------------------------------------------------------------------------------------------------


def test_a_challenger_becomes_champion_through_the_comparison_alone(tracker: Tracker) -> None:
    assert aliases(tracker) == {CHAMPION: 1}
    assert tracker.comparison(NAME, 1)["reasons"][0] == "No version serves yet."

    assert register(tracker, trial(fitted(TRAIN, seed=1))) == 2
    assert aliases(tracker) == {CHAMPION: 2, PREVIOUS: 1}
    compared = tracker.comparison(NAME, 2)
    assert (compared["state"], compared["passed"], compared["champion"]) == ("passed", True, 1)

    assert register(tracker, trial(WORSE)) == 3
    assert aliases(tracker) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    with pytest.raises(GateError, match=r"version 3 of kunto-expansion-90d may not serve: its comparison failed\. ") as no:
        tracker.promote(NAME, 3)
    assert "not shown to be no worse" in str(no.value)
    assert aliases(tracker)[CHAMPION] == 2

    assert register(tracker, trial(), state="no_signal") == 4
    assert aliases(tracker)[CHALLENGER] == 3  # what its own gate stops challenges nobody
    with pytest.raises(GateError, match="its gate says no_signal"):
        tracker.promote(NAME, 4)
    assert tracker.comparison(NAME, 4) == {}

    assert register(tracker, trial()) == 5
    assert aliases(tracker) == {CHAMPION: 5, PREVIOUS: 2}
    assert [(row["version"], row["challenge"]) for row in tracker.versions()] == [
        (5, "passed"),
        (4, None),
        (3, "failed"),
        (2, "passed"),
        (1, "unopposed"),
    ]


def test_an_undecided_one_waits_for_a_person(tracker: Tracker) -> None:
    assert register(tracker, trial(rows=NO_OUTCOME)) == 2
    assert aliases(tracker) == {CHAMPION: 1, CHALLENGER: 2}
    assert "0 accounts with the outcome" in tracker.promote(NAME, 2)[0]
    assert aliases(tracker) == {CHAMPION: 2, PREVIOUS: 1}
    assert tracker.rollback(NAME) == 1
    assert aliases(tracker) == {CHAMPION: 1, PREVIOUS: 2}
    assert tracker.rollback(NAME) == 2


def test_a_version_that_brings_nothing_to_compare_by_replaces_nothing(tracker: Tracker) -> None:
    register(tracker, None)
    assert aliases(tracker) == {CHAMPION: 1, CHALLENGER: 2}
    assert tracker.comparison(NAME, 2)["state"] == "undecided"
    assert tracker.tested(NAME, 2) is None
    made = tracker.client.create_model_version(NAME, "file:///nowhere", tags={"gate": "pass"})
    with pytest.raises(GateError, match="version 3 of kunto-expansion-90d was never compared with champion 1"):
        tracker.promote(NAME, int(made.version))


def test_a_champion_without_a_tested_fit_is_replaced_by_the_gate_alone(new: Tracker) -> None:
    register(new, None)
    assert aliases(new) == {CHAMPION: 1}
    register(new, trial())
    assert aliases(new) == {CHAMPION: 2, PREVIOUS: 1}
    assert new.comparison(NAME, 2)["reasons"] == [
        "Champion 1 was registered without its tested fit.",
        "The training gate alone decides.",
    ]


def test_a_champion_whose_tested_fit_is_damaged_stays(new: Tracker) -> None:
    register(new, trial())
    (artifact(new, 1, TESTED_FILES) / "linear.json").write_text("{", encoding="utf-8")
    register(new, trial())
    assert aliases(new) == {CHAMPION: 1, CHALLENGER: 2}
    assert "The tested fit of champion 1 cannot be read: " in new.comparison(NAME, 2)["reasons"][0]
    assert new.product_features([NAME]) == ()


def test_a_champion_that_was_not_challenged_is_not_replaced(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the comparison runs, another training's version becomes champion."""
    register(tracker, trial(rows=NO_OUTCOME))
    compare = tracker._compare

    def overtaken(name: str, given: Trial | None) -> Any:
        found = compare(name, given)
        tracker.promote(name, 2)
        return found

    monkeypatch.setattr(tracker, "_compare", overtaken)
    register(tracker, trial())
    assert aliases(tracker) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert tracker.comparison(NAME, 3)["state"] == "passed"
    tracker.promote(NAME, 3)
    assert aliases(tracker)[CHAMPION] == 3


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_was_tested_is_kept_beside_what_serves(new: Tracker) -> None:
    assert new.product_features([NAME]) == ()
    by_revenue = replace(SERVING, event="revenue")
    with_own = replace(GOOD, product_features=("import", "create lead"))
    assert new.register(EXPANSION, record_of(), by_revenue, SHOWN, trial(with_own))["version"] == 1
    # It answers the same question as what serves.
    assert new.tested(NAME, 1) == Contender(replace(with_own, event="revenue"), TEST_FROM, 1)
    texts = {path.name: path.read_text(encoding="utf-8") for path in artifact(new, 1, SERVING_FILES).iterdir()}
    assert OutcomeModel.from_files(texts) == by_revenue
    assert new.product_features([NAME, "kunto-churn-90d"]) == ("create lead", "import")


def test_page_and_profile_are_kept(new: Tracker) -> None:
    predicted = pd.DataFrame({"as_of": TEST.timeline["as_of"], "p": GOOD.probability(TEST.frame)})
    profile = Profile.of(GOOD, TRAIN.frame, TRAIN.timeline, TRAIN.y, predicted)
    record = new.register(EXPANSION, record_of(), SERVING, SHOWN, trial(), profile)
    assert record["challenge"] == {
        "state": "unopposed",
        "champion": None,
        "reasons": ["No version serves yet.", "The training gate alone decides."],
    }
    assert Profile.from_json(artifact(new, 1, PROFILE_FILE).read_text(encoding="utf-8")) == profile
    page = run_file(new, "report.html")
    assert "No version serves yet." in page
    assert json.loads(run_file(new, "record.json")) == record


def run_file(tracker: Tracker, name: str) -> str:
    run = tracker.client.get_run(tracker.client.get_model_version(NAME, "1").run_id)
    return Path(download_artifacts(f"{run.info.artifact_uri}/{name}", tracking_uri=tracker.client.tracking_uri)).read_text(
        "utf-8"
    )


def test_version_and_run_say_data_config_and_code(tracker: Tracker) -> None:
    version = tracker.client.get_model_version(NAME, "1")
    run = tracker.client.get_run(version.run_id)
    made_from = {"data": "d1", "config": "c1", "code": code_version()}
    assert made_from.items() <= version.tags.items()
    assert made_from.items() <= run.data.tags.items()
    assert {"gate": "pass", "challenge": "unopposed", "test_from": "2026-01-01T00:00:00"}.items() <= version.tags.items()
    assert run.data.tags["challenge"] == "unopposed"
    assert json.loads(run_file(tracker, "challenge.json")) == tracker.comparison(NAME, 1)


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_commands_show_and_obey_the_comparison(csv: Any, kunto: Any, begun: Path) -> None:
    path = csv()
    shutil.copy(begun / "mlflow.db", path)
    place = Workspace(path)
    tracker = Tracker(place.tracking_uri, place.artifacts_path, tags={}, params={})
    for given in (trial(WORSE), trial(rows=NO_OUTCOME)):
        register(tracker, given)

    listed = kunto("models", "-w", path, "--json").json
    assert [(row["version"], row["challenge"], row["aliases"]) for row in listed] == [
        (3, "undecided", [CHALLENGER]),
        (2, "failed", []),
        (1, "unopposed", [CHAMPION]),
    ]
    assert "undecided" in kunto("models", "-w", path).told
    refused = kunto("promote", NAME, 2, "-w", path)
    assert refused.code == 1
    assert "its comparison failed" in refused.told
    assert "not shown to be no worse" in refused.told
    moved = kunto("promote", NAME, 3, "-w", path)
    assert moved.code == 0
    assert "is now served by version 3. Its comparison said: From 2026-01-01 on" in moved.told
    assert kunto("rollback", NAME, "-w", path, "--json").json == {"name": NAME, "champion": 1}
