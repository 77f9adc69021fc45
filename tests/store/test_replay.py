"""A score computed again is the score that was given, wherever the champions point since."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from features.loader import load
from kunto.workspace import Workspace
from models.choice import PlaySettings
from models.registry import versions, worded
from serving.champions import Champions, ModelError, load_champions, load_versions
from serving.replay import ReplayError, predictions, replay, stakes
from serving.scoring import Scored, ScoringSettings, score
from serving.store import Identity, Store, UnknownAccountError

AT_STAKE = ("arr_at_risk", "expected_lifetime_value")


@dataclass(frozen=True)
class Night:
    """A scored portfolio, and the registry whose champions served then."""

    as_of: pd.Timestamp
    registry: str
    scored: Scored


@pytest.fixture(scope="module")
def night(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The demo's portfolio, scored by a registry of this module's own; since then another model has become the champion."""
    folder = tmp_path_factory.mktemp("replay")
    shutil.copy(demo.path / "mlflow.db", folder)
    registry = f"sqlite:///{folder / 'mlflow.db'}"
    workspace = Workspace(demo.path)
    source = load(workspace.mapping, base=workspace.path)
    as_of = pd.Timestamp(source.data_until)
    champions = load_champions(registry)
    stamp = {"model": worded(champions.versions), "config": "c", "data": "d"}
    scored = score(source.tables, as_of, champions, ScoringSettings(), versions=stamp)
    source.connection.disconnect()
    _promote_another(registry, folder)
    return Night(as_of, registry, scored)


def _promote_another(registry: str, folder: Path) -> None:
    """Make a churn model that sees more risk the champion."""
    client = MlflowClient(tracking_uri=registry)
    churn = load_champions(registry).churn
    assert churn is not None
    calibrator = replace(churn.model.calibrator, intercept=churn.model.calibrator.intercept + 1.0)
    target = folder / "another" / "artifacts" / "outcome"
    target.mkdir(parents=True)
    for name, text in replace(churn.model, calibrator=calibrator).to_files().items():
        (target / name).write_text(text, encoding="utf-8")
    made = client.create_model_version(churn.name, source=str(folder / "another"))
    client.set_registered_model_alias(churn.name, "champion", made.version)


@pytest.fixture
def kept(store: Store, night: Night) -> Store:
    """A store that holds that night, inputs included."""
    keep(store, night, "night")
    return store


def keep(store: Store, night: Night, run_id: str, *, inputs: bool = True) -> None:
    records = night.scored.records
    store.save_accounts(Identity(record["account_id"], record["name"], record["csm"]) for record in records)
    store.begin_run("score", night.as_of, records[0]["versions"], run_id=run_id)
    store.append_scores(run_id, records)
    if inputs:
        assert store.inputs.append(run_id, night.scored.features, night.scored.facts) == len(records)
    store.finish_run(run_id)


def numbers(predictions: list[dict[str, Any]] | None) -> dict[tuple[str, int, str], float]:
    return {
        (each["outcome"], each["horizon_days"], name): each[name]
        for each in predictions or ()
        for name in ("probability", "low", "high")
    }


def chosen(night: Night) -> list[str]:
    """The account least at risk, the one most, and one whose notice stands, so that it is not predicted."""
    by_risk = sorted(
        (record["predictions"][0]["probability"], record["account_id"])
        for record in night.scored.records
        if record["predictions"] is not None
    )
    leaving = [record["account_id"] for record in night.scored.records if record["leaving"]]
    return [by_risk[0][1], by_risk[-1][1], *leaving[:1]]


def test_a_replay_gives_the_stored_numbers_although_another_model_serves_now(kept: Store, night: Night) -> None:
    for account_id in chosen(night):
        [stated] = kept.scores(account_id, as_of=night.as_of)
        again = replay(kept, night.registry, account_id, as_of=night.as_of)
        assert numbers(again) == pytest.approx(numbers(stated.record["predictions"]), rel=0, abs=1e-9)


def test_every_account_replays_from_what_the_store_gives_back(kept: Store, night: Night) -> None:
    champions = load_versions(night.registry, versions(night.scored.records[0]["versions"]["model"]))
    for record in night.scored.records:
        inputs = kept.inputs.read(record["account_id"])
        assert inputs is not None
        if not record["leaving"]:
            again = predictions(champions, inputs)
            assert numbers(again) == pytest.approx(numbers(record["predictions"]), rel=0, abs=1e-9)
            at_stake = stakes(champions, inputs, PlaySettings())
            assert at_stake is not None
            assert at_stake["renewal"] == {name: record["renewal"][name] for name in at_stake["renewal"]}
            assert [at_stake[name] for name in AT_STAKE] == [record[name] for name in AT_STAKE]


def test_what_is_at_stake_follows_the_settings_given(kept: Store, night: Night) -> None:
    champions = load_versions(night.registry, versions(night.scored.records[0]["versions"]["model"]))
    inputs = kept.inputs.read(chosen(night)[0])
    assert inputs is not None
    full, half = (stakes(champions, inputs, PlaySettings(margin=margin)) for margin in (0.8, 0.4))
    assert full is not None
    assert half is not None
    assert half["expected_lifetime_value"] == pytest.approx(full["expected_lifetime_value"] / 2)
    assert stakes(Champions({}, None), inputs, PlaySettings()) is None
    bare = replace(inputs, facts=inputs.facts | {"mrr": None})
    unknown = stakes(champions, bare, PlaySettings())
    assert unknown is not None
    assert [unknown[name] for name in AT_STAKE] == [None, None]
    assert unknown["renewal"]["probability"] == full["renewal"]["probability"]


def test_a_score_from_before_a_figure_existed_is_read_and_replayed(store: Store, night: Night) -> None:
    older = [_without_expectations(record) for record in night.scored.records]
    keep(store, replace(night, scored=replace(night.scored, records=older)), "older")
    account_id = chosen(night)[0]
    [score] = store.scores(account_id)
    assert score.record["expected_lifetime_value"] is None
    given = next(record for record in night.scored.records if record["account_id"] == account_id)
    assert score.record["renewal"].keys() == given["renewal"].keys()
    assert score.record["renewal"]["expected_arr"] is None
    assert score.record["renewal"]["probability"] == given["renewal"]["probability"]
    assert numbers(replay(store, night.registry, account_id)) == pytest.approx(numbers(given["predictions"]), rel=0, abs=1e-9)


def _without_expectations(record: dict[str, Any]) -> dict[str, Any]:
    """The record as it was before there were expected revenue and lifetime value."""
    renewal = {name: value for name, value in record["renewal"].items() if not name.startswith("expected_arr")}
    return {name: value for name, value in record.items() if name != "expected_lifetime_value"} | {"renewal": renewal}


def test_the_champions_of_now_would_say_something_else(kept: Store, night: Night) -> None:
    account_id = chosen(night)[0]
    inputs = kept.inputs.read(account_id)
    assert inputs is not None
    now = predictions(load_champions(night.registry), inputs)
    then = replay(kept, night.registry, account_id)
    assert now is not None
    assert then is not None
    assert now[0]["probability"] > then[0]["probability"] + 1e-3


def test_a_score_without_inputs_is_not_replayed_from_those_of_another(kept: Store, night: Night) -> None:
    keep(kept, night, "bare", inputs=False)
    account_id = chosen(night)[0]
    with pytest.raises(ReplayError, match=f"of account '{account_id}' there is no such score, or its inputs are not kept"):
        replay(kept, night.registry, account_id)
    assert replay(kept, night.registry, account_id, run_id="night") is not None
    with pytest.raises(ReplayError):
        replay(kept, night.registry, account_id, as_of=night.as_of - pd.Timedelta(days=1))
    with pytest.raises(UnknownAccountError):
        replay(kept, night.registry, "unknown")


def test_a_version_that_is_gone_is_told(kept: Store, night: Night) -> None:
    client = MlflowClient(tracking_uri=night.registry)
    record = next(r for r in night.scored.records if r["predictions"] is not None)
    gone = {**record, "versions": {**record["versions"], "model": "kunto-gone-90d/7"}}
    kept.begin_run("score", night.as_of, {}, run_id="gone")
    kept.append_scores("gone", [gone])
    kept.inputs.append("gone", night.scored.features, night.scored.facts)
    kept.finish_run("gone")
    assert not client.search_model_versions("name='kunto-gone-90d'")
    with pytest.raises(ModelError, match="there is no version 7 of 'kunto-gone-90d'"):
        replay(kept, night.registry, record["account_id"])
