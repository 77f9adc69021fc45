"""The models in use follow the alias: whole bundles, proven before they serve, the old one kept where the new one fails."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from registry import CHURN, CONTRACTION, Registry, boosted, outcome_model
from structlog.testing import capture_logs

from models.outcome import Explanation, OutcomeModel
from models.registry import versions, worded
from serving import models_in_use
from serving.champions import Champions, ModelError, champion_versions, load_champions, load_versions
from serving.models_in_use import Bundle, ModelsInUse, ModelsNotReadyError
from serving.self_test import SelfTestError, check_model, check_models, probe
from training.settings import Task
from training.tracking import Tracker

LONG = 3600.0
LEVELS = {1: -2.0, 2: -1.0, 3: 0.5}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


Serve = Callable[..., ModelsInUse[Any]]


@pytest.fixture
def serve(registry: Registry) -> Iterator[Serve]:
    """A function that makes models in use of the registry; what was started is stopped."""
    made: list[ModelsInUse[Any]] = []

    def make(prepare: Callable[[Champions], Any] = lambda champions: champions, **settings: Any) -> ModelsInUse[Any]:
        made.append(ModelsInUse(registry.uri, prepare=prepare, **({"poll_seconds": LONG} | settings)))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def row(model: OutcomeModel) -> pd.DataFrame:
    return probe(model.inputs).iloc[[1]]


def test_what_has_the_alias_serves(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, boosted("churn"), champion=False)
    registry.add(CHURN, boosted("churn", seed=1))
    registry.add(CONTRACTION, outcome_model("contraction"))
    registry.add("kunto-expansion-90d", outcome_model("expansion"), champion=False)
    models = serve(prepare=lambda champions: champions.churn)
    assert not models.ready
    with pytest.raises(ModelsNotReadyError, match="no models are loaded yet"):
        models.current()
    models.start()
    bundle, state = models.current(), models.state()
    assert bundle.versions == {CHURN: 2, CONTRACTION: 1}
    assert bundle.wording == f"{CHURN}/2, {CONTRACTION}/1"
    assert bundle.prepared is bundle.champions.churn
    assert bundle.champions.churn.model == boosted("churn", seed=1)
    assert (state.ready, state.serving, state.versions, state.problem) == (True, "models", bundle.versions, None)
    assert state.since == bundle.loaded_at
    json.dumps(asdict(state), default=str)


def test_without_champions_the_health_score_serves(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, outcome_model("churn"), champion=False)
    models = serve()
    assert models.check().serving == "health score"
    assert models.ready
    assert models.current().champions.models == {}
    assert models.current().wording == "health score"
    registry.promote(CHURN, 1)
    assert models.check().versions == {CHURN: 1}


def test_the_alias_moves_while_eight_threads_predict(registry: Registry, serve: Serve) -> None:
    expected: dict[tuple[str, int], float] = {}
    for name, outcome in ((CHURN, "churn"), (CONTRACTION, "contraction")):
        for number, level in LEVELS.items():
            model = outcome_model(outcome, level)  # type: ignore[arg-type]
            assert registry.add(name, model, champion=number == 1) == number
            expected[name, number] = float(model.probability(row(model))[0])
    assert len(set(expected.values())) == len(expected)
    changed = threading.Semaphore(0)
    models = serve(
        prepare=lambda champions: dict(champions.versions), poll_seconds=0.005, on_change=lambda old, new: changed.release()
    )
    models.start()
    seen: set[tuple[int, ...]] = set()
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                bundle = models.current()
                told = {
                    each.name: (each.version, float(each.model.probability(row(each.model))[0]))
                    for each in bundle.champions.models.values()
                }
                assert bundle.prepared == bundle.versions == {name: version for name, (version, _) in told.items()}
                assert bundle.wording == worded(bundle.versions)
                assert all(p == expected[name, version] for name, (version, p) in told.items())
                seen.add(tuple(bundle.versions.values()))
            except Exception as error:
                failures.append(repr(error))
                return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in (2, 3, 1):
        registry.promote(CHURN, number)
        assert changed.acquire(timeout=20)
    done.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert seen == {(number, 1) for number in LEVELS}


def cut(text: str) -> str:
    return text[: len(text) // 2]


def test_a_broken_version_changes_nothing_that_serves(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, boosted("churn"))
    loads: list[dict[str, int]] = []
    models = serve(prepare=lambda champions: loads.append(champions.versions), on_change=lambda old, new: loads.append({}))
    models.check()
    old = models.current()
    registry.add(CHURN, boosted("churn"), **{"booster.txt": cut(boosted("churn").to_files()["booster.txt"])})
    with capture_logs() as logs:
        for _ in range(3):
            state = models.check()
    assert models.ready
    assert models.current() is old
    assert (state.ready, state.versions, state.since) == (True, {CHURN: 1}, old.loaded_at)
    assert state.problem is not None
    assert f"version 2 of {CHURN} cannot be used" in state.problem
    assert "the booster's text is damaged" in state.problem
    assert [line["log_level"] for line in logs] == ["error"]
    registry.promote(CHURN, 1)
    assert models.check().problem is None
    assert models.current() is old
    registry.add(CHURN, boosted("churn", seed=2))
    assert models.check().versions == {CHURN: 3}
    registry.promote(CHURN, 1)
    assert models.check().versions == {CHURN: 1}
    assert models.current() is not old
    assert loads == [{CHURN: 1}, {CHURN: 3}, {}, {CHURN: 1}, {}]


@pytest.mark.parametrize("damage", ["no file", "not JSON", "lacks a part", "another column count"])
def test_whatever_is_wrong_with_a_version_is_told_by_its_name(registry: Registry, damage: str) -> None:
    model = boosted("churn")
    settings = json.loads(model.to_files()["model.json"])
    damaged = {
        "no file": {},
        "not JSON": {"model.json": "{"},
        "lacks a part": {"model.json": json.dumps({k: v for k, v in settings.items() if k != "calibrator"})},
        "another column count": {"model.json": json.dumps(settings | {"columns": [*settings["columns"], "one_more"]})},
    }[damage]
    registry.add(CHURN, model, **damaged)
    if damage == "no file":
        shutil.rmtree(registry.folder / f"{CHURN}-1")
    with pytest.raises(ModelError, match=f"version 1 of {CHURN} cannot be used: .*; train again, or `kunto rollback {CHURN}`"):
        load_champions(registry.uri)


def test_the_first_load_fails_until_the_registry_names_something_whole(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, outcome_model("churn"), **{"model.json": "{"})
    models = serve()
    state = models.check()
    assert not models.ready
    assert (state.ready, state.serving, state.versions, state.since) == (False, None, {}, None)
    with pytest.raises(ModelsNotReadyError, match=f"version 1 of {CHURN} cannot be used"):
        models.current()
    registry.add(CHURN, outcome_model("churn"))
    assert models.check().ready
    assert models.current().versions == {CHURN: 2}


@pytest.mark.parametrize("part", ["prepare", "self_test"])
def test_what_cannot_be_prepared_or_fails_its_test_does_not_serve(registry: Registry, serve: Serve, part: str) -> None:
    registry.add(CHURN, outcome_model("churn"))

    def refuse(made: Champions) -> Champions:
        if made.versions[CHURN] == 2:
            raise ArithmeticError("no score")
        return made

    models = serve(**{part: refuse})
    models.check()
    registry.add(CHURN, outcome_model("churn", -1.0))
    state = models.check()
    assert state.versions == models.current().versions == {CHURN: 1}
    assert state.problem == f"{CHURN}/2 cannot serve: ArithmeticError: no score"


def test_a_failure_is_tried_again_after_a_pause(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, outcome_model("churn"))
    changed, failures = threading.Event(), iter([True, True, False])

    def prepare(champions: Champions) -> Champions:
        if champions.versions[CHURN] == 2 and next(failures):
            raise OSError("not yet")
        return champions

    models = serve(prepare=prepare, poll_seconds=0.01, on_change=lambda old, new: changed.set())
    models.start()
    registry.add(CHURN, outcome_model("churn", -1.0))
    assert changed.wait(20)
    assert models.state().versions == {CHURN: 2}
    assert models.state().problem is None


def test_between_two_looks_nothing_is_tried_before_the_pause_is_over(
    registry: Registry, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tried, clock, wanted = serve(poll_seconds=10.0), [], [0.0], {CHURN: 1}

    def load(uri: str, asked: dict[str, int]) -> Champions:
        tried.append((clock[0], asked[CHURN]))
        raise ModelError("damaged")

    monkeypatch.setattr(models_in_use.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(models_in_use, "champion_versions", lambda uri: dict(wanted))
    monkeypatch.setattr(models_in_use, "load_versions", load)
    for second in range(0, 2500, 10):
        clock[0], wanted[CHURN] = float(second), 1 if second < 2440 else 2
        models._check(again=False)
    first = [(second, 1) for second in (0.0, 20.0, 60.0, 140.0, 300.0, 620.0, 1220.0, 1820.0, 2420.0)]
    assert tried == [*first, (2440.0, 2), (2460.0, 2)]


def test_a_registry_that_goes_away_is_told_and_what_serves_goes_on(
    registry: Registry, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(CHURN, outcome_model("churn"))
    models = serve()
    before = models.check()

    def unreachable(uri: str) -> dict[str, int]:
        raise ConnectionError("no route")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(models_in_use, "champion_versions", unreachable)
        for _ in range(3):
            state = models.check()
    assert state == replace(before, problem="the registry cannot be read: ConnectionError: no route")
    assert len(logs) == 1
    assert models.current().versions == {CHURN: 1}
    again = models.check()
    assert again.problem is None
    assert again.last_checked is not None
    assert before.last_checked is not None
    assert again.last_checked > before.last_checked


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    models = ModelsInUse("http://127.0.0.1:9", prepare=lambda champions: champions, poll_seconds=LONG)
    models.start()
    models.stop()
    assert not models.ready
    assert "the registry cannot be read" in (models.state().problem or "")


def test_who_is_told_of_a_change(registry: Registry, serve: Serve) -> None:
    told: list[tuple[str, str]] = []

    def on_change(old: Bundle[Any], new: Bundle[Any]) -> None:
        told.append((old.wording, new.wording))
        raise RuntimeError("the outbox is full")

    registry.add(CHURN, outcome_model("churn"))
    models = serve(on_change=on_change)
    models.check()
    assert told == []
    registry.add(CHURN, outcome_model("churn", -1.0))
    with capture_logs() as logs:
        assert models.check().problem is None
    assert told == [(f"{CHURN}/1", f"{CHURN}/2")]
    assert models.current().versions == {CHURN: 2}
    assert [line["event"] for line in logs] == ["models_loaded", "on_change_failed"]


# --- versions by number ----------------------------------------------------------------------------------------------


def test_versions_are_loaded_whether_or_not_they_serve(registry: Registry) -> None:
    for level in LEVELS.values():
        registry.add(CHURN, outcome_model("churn", level))
    found = load_versions(registry.uri, versions(f"{CHURN}/2"))
    assert found.versions == {CHURN: 2}
    assert found.churn is not None
    assert found.churn.model == outcome_model("churn", LEVELS[2])
    assert load_champions(registry.uri).versions == {CHURN: 3}


@pytest.mark.parametrize("wanted", [{CHURN: 7}, {"kunto-upsell-90d": 1}])
def test_a_version_that_is_not_there(registry: Registry, wanted: dict[str, int]) -> None:
    registry.add(CHURN, outcome_model("churn"))
    ((name, version),) = wanted.items()
    with pytest.raises(ModelError, match=f"there is no version {version} of '{name}' in the registry"):
        load_versions(registry.uri, wanted)


def test_two_models_of_one_question_are_refused(registry: Registry) -> None:
    registry.add(CHURN, outcome_model("churn"))
    registry.add("another", outcome_model("churn"))
    with pytest.raises(ModelError, match=f"another and {CHURN} both predict churn at 90 days"):
        load_champions(registry.uri)


def test_champions_are_found_past_the_first_page(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(CHURN, outcome_model("churn"))
    registry.add(CONTRACTION, outcome_model("contraction"))
    search = type(registry.client).search_registered_models
    monkeypatch.setattr(
        type(registry.client), "search_registered_models", lambda self, **asked: search(self, max_results=1, **asked)
    )
    assert champion_versions(registry.uri) == {CHURN: 1, CONTRACTION: 1}


# --- the self-test ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [outcome_model("churn"), boosted("churn"), outcome_model("expansion"), boosted("contraction")])
def test_a_sound_model_passes(model: OutcomeModel) -> None:
    check_model(model)


class Impossible(OutcomeModel):
    def probability(self, *asked: Any) -> Any:
        return super().probability(*asked) * 40


class Unknown(OutcomeModel):
    def probability(self, *asked: Any) -> Any:
        return np.full(len(asked[0]), np.nan)


class Rising(OutcomeModel):
    def survival(self, *asked: Any) -> Any:
        return super().survival(*asked)[:, ::-1]

    def probability(self, *asked: Any) -> Any:
        return np.full(len(asked[0]), 0.5)


class Unexplained(OutcomeModel):
    def explain(self, *asked: Any) -> Explanation:
        found = super().explain(*asked)
        return replace(found, raw_score=found.raw_score + 0.01)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Impossible, "a probability is not between 0 and 1"),
        (Unknown, "a probability is not between 0 and 1"),
        (Rising, "the curve rises"),
        (Unexplained, "contributions do not add up to the raw score"),
    ],
)
def test_a_model_that_breaks_a_law_is_caught(kind: type[OutcomeModel], told: str, registry: Registry) -> None:
    registry.add(CHURN, outcome_model("churn"))
    found = load_champions(registry.uri)
    (champion,) = found.models.values()
    doctored = kind(**vars(champion.model))
    with pytest.raises(SelfTestError, match=f"version 1 of {CHURN} fails its self-test: {told}"):
        check_models(Champions({("churn", 90): replace(champion, model=doctored)}, None))


# --- what a training run registers -----------------------------------------------------------------------------------


def test_the_card_of_a_registered_run(registry: Registry, serve: Serve) -> None:
    figures = {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "lift_top_decile": 3.0, "log_loss": 0.2, "ece": 0.01}
    extent = {"from": "2025-01-01T00:00:00", "to": "2025-06-01T00:00:00", "rows": 100, "accounts": 20, "positives": 9}
    record = {
        "outcome": "churn",
        "horizon_days": 90,
        "name": CHURN,
        "version": None,
        "train": extent,
        "test": extent | figures,
        "baselines": {"logistic": figures},
        "gate": {"state": "pass", "passed": True, "reasons": ["better"]},
    }
    p = np.linspace(0.1, 0.9, 30)
    names = ("booster", "logistic", "health_score", "tenure_calendar", "recency")
    whose = {"account_id": [f"a{row}" for row in range(30)], "as_of": pd.Timestamp("2025-02-01")}
    test = pd.DataFrame({**whose, "label": (p > 0.5).astype(float), **dict.fromkeys(names, p)})
    tracker = Tracker(
        registry.uri, registry.folder / "artifacts", tags={"data": "d7", "config": "c7", "code": "0.1.0"}, params={}
    )
    tracker.register(Task(outcome="churn", horizon_days=90), record, boosted("churn"), test)
    models = serve()
    models.check()
    bundle = models.current()
    card = bundle.cards[CHURN]
    assert card.champion == bundle.champions.churn
    assert card.record == record | {"version": 1, "champion": 1, "challenge": card.record["challenge"]}
    assert (card.gate, {**card.trained_on, "code": None}) == ("pass", {"data": "d7", "config": "c7", "code": None})
    assert card.trained_on["code"].startswith("0.1.0+")  # and a digest of the code that was shipped
    assert card.text is not None
    assert card.text.startswith(f"# {CHURN}")
    assert bundle.champions.churn_base_rate == 0.09


def test_a_version_registered_by_hand_has_no_card(registry: Registry, serve: Serve) -> None:
    registry.add(CHURN, outcome_model("churn"))
    models = serve()
    models.check()
    card = models.current().cards[CHURN]
    assert (card.text, card.record, card.gate, card.trained_on) == (None, {}, "pass", {"data": "d1", "code": "0.1.0"})
