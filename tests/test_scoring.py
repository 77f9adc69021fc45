"""A scored account: its contract, its arithmetic, and that it does not hang on who else is scored."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from features.builder import build
from features.catalogue import DRIVERS, catalog
from features.loader import Source, load
from kunto.workspace import Workspace
from models.choice import NOTHING, PlaySettings
from models.explain import TIE
from models.playbooks import load as playbooks
from serving.champions import Champion, Champions, load_champions
from serving.people import identities, observed
from serving.scoring import Scored, ScoringSettings, score
from serving.store import Store

KEYS = {
    *("account_id", "name", "csm", "tier", "stage", "as_of", "health", "predictions", "curve", "reasons", "play", "arr"),
    *("arr_at_risk", "expected_lifetime_value", "renewal", "contacts", "disagreement", "leaving", "versions"),
}
RENEWAL = {"date", "notice_by", "probability", "expected_arr", "expected_arr_low", "expected_arr_high"}
HEALTH = {"score", "band", "coverage", "provisional", "components", "bound_by", "change_30d"}
COMPONENTS = {"usage", "engagement", "support", "business", "feedback"}
REASONS = {"outcome", "horizon_days", "base_value", "raw_score", "drivers", "other"}
DRIVER = {"driver", "direction", "contribution", "feature", "value", "before", "peers", "text"}
PREDICTION = {"outcome", "horizon_days", "probability", "low", "high", "base_rate"}
PLAY = {"name", "why", "expected_value", "beaten", "assignment"}
VERSIONS = {"model": "m", "config": "c", "data": "d"}


@pytest.fixture(scope="module")
def source(demo: Any) -> Iterator[Source]:
    """The company's tables, loaded as the commands load them."""
    workspace = Workspace(demo.path)
    opened = load(workspace.mapping, base=workspace.path)
    yield opened
    opened.connection.disconnect()


@pytest.fixture(scope="module")
def champions(demo: Any) -> Champions:
    return load_champions(demo.tracking_uri)


@pytest.fixture(scope="module")
def as_of(source: Source) -> pd.Timestamp:
    return pd.Timestamp(source.data_until)


@pytest.fixture(scope="module")
def scored(source: Source, champions: Champions, as_of: pd.Timestamp) -> Scored:
    return score(source.tables, as_of, champions, ScoringSettings(), versions=VERSIONS)


@pytest.fixture(scope="module")
def unserved(source: Source, champions: Champions, as_of: pd.Timestamp) -> Scored:
    """The same portfolio where no model serves, but a training has told the base rate."""
    return score(source.tables, as_of, Champions({}, 0.07), ScoringSettings(), versions=VERSIONS)


@pytest.fixture(scope="module")
def predicted(scored: Scored) -> list[dict[str, Any]]:
    found = [record for record in scored.records if not record["leaving"]]
    assert found
    return found


@pytest.fixture(scope="module")
def leaving(scored: Scored) -> list[dict[str, Any]]:
    found = [record for record in scored.records if record["leaving"]]
    assert found, "the company has nobody under notice: choose another seed"
    return found


def _probability(record: Mapping[str, Any], outcome: str, days: int) -> float:
    return next(p["probability"] for p in record["predictions"] if (p["outcome"], p["horizon_days"]) == (outcome, days))


def _survival(record: Mapping[str, Any], days: int) -> float:
    return next(point["survival"] for point in record["curve"] if point["days"] == days)


# The record


def test_every_account_has_the_whole_record(scored: Scored) -> None:
    for record in scored.records:
        assert record.keys() == KEYS
        assert record["health"].keys() >= HEALTH
        assert record["health"]["components"].keys() == COMPONENTS
        assert record["reasons"].keys() == REASONS
        assert all(driver.keys() == DRIVER for driver in record["reasons"]["drivers"])
        assert all(prediction.keys() == PREDICTION for prediction in record["predictions"] or [])
        assert all(point.keys() == {"days", "survival"} for point in record["curve"] or [])
        assert record["play"].keys() == PLAY
        assert record["renewal"].keys() == RENEWAL
        assert record["versions"] == VERSIONS
        assert all(contact.keys() == {"contact_id", "role"} for contact in record["contacts"])


def test_records_are_plain_json(scored: Scored, unserved: Scored) -> None:
    for record in (*scored.records, *unserved.records):
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_active_accounts_are_scored_once_each(scored: Scored, source: Source, as_of: pd.Timestamp) -> None:
    rows = source.tables["subscriptions"].execute()
    running = rows[(rows["started_at"] < as_of) & (rows["ended_at"].isna() | (rows["ended_at"] >= as_of)) & (rows["mrr"] > 0)]
    ids = [record["account_id"] for record in scored.records]
    assert len(ids) == len(set(ids))
    assert set(ids) == set(running["account_id"])
    arr = running.groupby("account_id")["mrr"].sum().astype(float) * 12
    assert {r["account_id"]: r["arr"] for r in scored.records} == pytest.approx(arr.to_dict())


def test_most_valuable_first(scored: Scored) -> None:
    worth = [record["play"]["expected_value"] for record in scored.records]
    assert worth == sorted(worth, reverse=True)


def test_scoring_is_pure(source: Source, champions: Champions, as_of: pd.Timestamp, scored: Scored) -> None:
    before = copy.deepcopy(scored.records)
    again = score(source.tables, as_of, champions, ScoringSettings(), versions=VERSIONS)
    assert again.records == before == scored.records
    assert again.choices == scored.choices


@pytest.mark.parametrize("kind", ["predicted", "leaving"])
def test_an_account_alone_is_the_account_in_the_batch(
    source: Source, champions: Champions, as_of: pd.Timestamp, scored: Scored, kind: str
) -> None:
    """`disagreement` alone is excepted: it is a place within the portfolio, so it needs the portfolio."""
    record = next(record for record in scored.records if record["leaving"] == (kind == "leaving"))
    settings, one = ScoringSettings(), [record["account_id"]]
    alone = score(source.tables, as_of, champions, settings, versions=VERSIONS, account_ids=one).records
    assert len(alone) == 1
    assert alone[0] | {"disagreement": None} == record | {"disagreement": None}


def test_no_account_is_no_error(source: Source, champions: Champions) -> None:
    early = pd.Timestamp("2001-01-01")
    assert score(source.tables, early, champions, ScoringSettings(), versions=VERSIONS).records == []


# Predictions, curve, stakes


def test_probabilities_lie_in_their_intervals(predicted: list[dict[str, Any]]) -> None:
    for prediction in (p for record in predicted for p in record["predictions"]):
        assert 0 <= prediction["low"] <= prediction["probability"] <= prediction["high"] <= 1


def test_the_curve_never_rises_and_reaches_a_year(predicted: list[dict[str, Any]]) -> None:
    for record in predicted:
        survival = [1.0, *(point["survival"] for point in record["curve"])]
        assert all(later <= earlier for earlier, later in pairwise(survival))
        assert [point["days"] for point in record["curve"]] == list(range(30, 361, 30))


@pytest.mark.parametrize("days", [30, 90, 180])
def test_churn_is_one_minus_the_curve(predicted: list[dict[str, Any]], days: int) -> None:
    for record in predicted:
        assert _probability(record, "churn", days) == pytest.approx(1 - _survival(record, days), abs=1e-12)


def test_the_four_states_sum_to_one(predicted: list[dict[str, Any]], source: Source, champions: Champions) -> None:
    for record in predicted:
        moving = sum(_probability(record, outcome, 90) for outcome in ("churn", "contraction", "expansion"))
        assert 0 <= 1 - moving <= 1, "what remains is the probability of flat"
        staying = 1 - _probability(record, "churn", 90)
        assert _probability(record, "contraction", 90) + _probability(record, "expansion", 90) <= staying + 1e-12


def test_renewal_probability_reads_the_curve_at_the_end_of_its_step(predicted: list[dict[str, Any]], as_of: pd.Timestamp) -> None:
    seen = {"near": 0, "far": 0}
    for record in predicted:
        if record["renewal"]["date"] is None:
            assert record["renewal"]["probability"] is None
            continue
        days = (pd.Timestamp(record["renewal"]["date"]) - as_of).days
        end = (days // 30 + 1) * 30
        seen["near" if end <= 360 else "far"] += 1
        if end > 360:
            assert record["renewal"]["probability"] is None
        else:
            assert record["renewal"]["probability"] == pytest.approx(1 - _survival(record, end), abs=1e-12)
    assert seen["near"], "no account renews within a year: the check looked at nothing"


def test_arr_at_risk_by_hand(source: Source, champions: Champions, predicted: list[dict[str, Any]], as_of: pd.Timestamp) -> None:
    """ARR × (1 − S(t) + S(t) × P(contracted | stays) × mean fall), t = the next renewal or 12 months (domain.md §4)."""
    contraction = champions.models["contraction", 90].model
    spine = pd.DataFrame({"account_id": [record["account_id"] for record in predicted], "as_of": as_of})
    frame = build(source.tables, spine, champions.churn.model.product_features)
    p_contracted = contraction.probability(frame)
    for record, p in zip(predicted, p_contracted, strict=True):
        renewal = record["renewal"]["date"]
        days = (pd.Timestamp(renewal) - as_of).days if renewal else 365
        stays = _survival(record, min((days // 30 + 1) * 30, 360))
        expected = record["arr"] * (1 - stays + stays * p * contraction.mean_change)
        assert record["arr_at_risk"] == pytest.approx(expected)
        assert 0 < record["arr_at_risk"] <= record["arr"]


def _moves(frame: pd.DataFrame, champions: Champions) -> list[float]:
    """P(expanded) × mean rise − P(contracted) × mean fall of each account, given that it stays."""
    up, down = (champions.models[outcome, 90].model for outcome in ("expansion", "contraction"))
    p_up, p_down = up.probability(frame), down.probability(frame)
    return ((p_up * up.mean_change - p_down * down.mean_change) / np.maximum(p_up + p_down, 1)).tolist()


def test_expected_revenue_by_hand(
    source: Source, champions: Champions, predicted: list[dict[str, Any]], as_of: pd.Timestamp
) -> None:
    """At the renewal, and over 60 months at their middles with the last hazard held (domain.md §4)."""
    spine = pd.DataFrame({"account_id": [record["account_id"] for record in predicted], "as_of": as_of})
    frame = build(source.tables, spine, champions.churn.model.product_features)
    days_to_renewal, seen = frame["days_to_renewal"].tolist(), 0
    for record, moved, days in zip(predicted, _moves(frame, champions), days_to_renewal, strict=True):
        worth, stays = 0.0, [1.0, *(point["survival"] for point in record["curve"])]
        for month in range(60):
            day = (month + 0.5) * 365.25 / 12
            step = min(int(day // 30), 11)
            staying = stays[step] * (stays[step + 1] / stays[step]) ** (day / 30 - step)
            worth += record["arr"] / 12 * staying * (1 + moved * min(day / 90, 1)) * 0.8 / 1.1 ** ((month + 0.5) / 12)
        assert record["expected_lifetime_value"] == pytest.approx(worth)
        renewal = record["renewal"]
        if renewal["probability"] is None:
            assert renewal["expected_arr"] is renewal["expected_arr_low"] is renewal["expected_arr_high"] is None
            continue
        seen += 1
        expected = record["arr"] * (1 - renewal["probability"]) * (1 + moved * min(days / 90, 1))
        assert renewal["expected_arr"] == pytest.approx(expected)
        assert 0 <= renewal["expected_arr_low"] < renewal["expected_arr"] < renewal["expected_arr_high"]
    assert seen, "no account renews within a year: the check looked at nothing"


def test_margin_and_discount_are_settings(
    source: Source, champions: Champions, as_of: pd.Timestamp, predicted: list[dict[str, Any]]
) -> None:
    record, plays = predicted[0], PlaySettings(margin=0.4, discount=0.0)
    settings, one = ScoringSettings(plays=plays), [record["account_id"]]
    other = score(source.tables, as_of, champions, settings, versions=VERSIONS, account_ids=one).records[0]
    assert other["expected_lifetime_value"] > record["expected_lifetime_value"] / 2, "as much of it, but not discounted"
    assert other["renewal"] == record["renewal"], "ARR is neither margin nor of later"
    assert other["arr_at_risk"] == record["arr_at_risk"]


def test_those_under_notice_are_listed_not_predicted(leaving: list[dict[str, Any]]) -> None:
    for record in leaving:
        assert record["predictions"] is record["curve"] is record["arr_at_risk"] is record["expected_lifetime_value"] is None
        assert {record["renewal"][name] for name in RENEWAL - {"date", "notice_by"}} == {None}
        assert record["stage"] == "leaving"
        assert record["disagreement"] is False
        play = record["play"]
        assert play["name"] == NOTHING or "leaving" in playbooks()[play["name"]].trigger.stages
        assert play["assignment"]["probability"] == 1.0


def test_under_revenue_nobody_is_leaving(
    source: Source, champions: Champions, as_of: pd.Timestamp, leaving: list[dict[str, Any]]
) -> None:
    settings, one = ScoringSettings(notice_is_leaving=False), [leaving[0]["account_id"]]
    record = score(source.tables, as_of, champions, settings, versions=VERSIONS, account_ids=one).records[0]
    assert record["leaving"] is False
    assert record["predictions"] is not None


def test_disagreement_is_between_health_and_risk(scored: Scored, predicted: list[dict[str, Any]]) -> None:
    p = np.array([_probability(record, "churn", 90) for record in predicted])
    top, middle = np.quantile(p, [0.9, 0.5])
    for record, risk in zip(predicted, p, strict=True):
        band = record["health"]["band"]
        assert record["disagreement"] == ((band == "healthy" and risk >= top) or (band == "critical" and risk < middle))
    assert any(record["disagreement"] for record in predicted) or not any(
        record["health"]["band"] == "healthy" and risk >= top for record, risk in zip(predicted, p, strict=True)
    )


# Without a model


def test_without_a_champion_the_health_score_serves(unserved: Scored) -> None:
    for record in unserved.records:
        assert record["predictions"] is record["curve"] is record["arr_at_risk"] is record["expected_lifetime_value"] is None
        assert {record["renewal"][name] for name in RENEWAL - {"date", "notice_by"}} == {None}
        assert record["disagreement"] is False
        explained = record["reasons"]
        assert (explained["outcome"], explained["horizon_days"], explained["base_value"]) == ("health", None, 0.0)
        assert all(driver["direction"] == "raises" for driver in explained["drivers"])


def test_without_a_champion_reasons_are_the_points_that_health_lost(unserved: Scored) -> None:
    unbound = [record for record in unserved.records if record["health"]["bound_by"] is None]
    assert unbound
    for record in unbound:
        assert record["health"]["score"] == pytest.approx(100 - record["reasons"]["raw_score"], abs=0.5 + 1e-5)


def test_without_a_champion_plays_use_the_base_rate(unserved: Scored) -> None:
    churn_plays = [
        (record, choice)
        for record, choice in zip(unserved.records, unserved.choices, strict=True)
        if not record["leaving"] and choice.name != NOTHING and playbooks()[choice.name].outcome == "churn"
    ]
    assert churn_plays
    settings = PlaySettings()
    for record, choice in churn_plays:
        hours, effect = playbooks()[choice.name].hours, choice.candidates[0].relative_effect
        assert choice.expected_value == pytest.approx(
            0.07 * effect * record["arr"] * settings.margin - hours * settings.hourly_cost
        )
    growth = [choice.name for choice in unserved.choices if choice.name != NOTHING]
    assert not any(playbooks()[name].outcome == "expansion" for name in growth), "P(expansion) is not known"


def test_without_a_training_nothing_is_worth_its_cost(
    source: Source, as_of: pd.Timestamp, predicted: list[dict[str, Any]]
) -> None:
    one = [predicted[0]["account_id"]]
    record = score(source.tables, as_of, Champions({}, None), ScoringSettings(), versions=VERSIONS, account_ids=one).records[0]
    assert record["play"]["name"] == NOTHING
    assert record["play"]["why"]


# Reasons


def test_reasons_add_up(scored: Scored) -> None:
    for explained in (record["reasons"] for record in scored.records):
        total = explained["base_value"] + sum(d["contribution"] for d in explained["drivers"]) + explained["other"]
        assert total == pytest.approx(explained["raw_score"], abs=1e-6)
        assert (explained["outcome"], explained["horizon_days"]) == ("churn", 90)


def test_other_is_the_sum_of_the_drivers_not_shown(
    source: Source, champions: Champions, as_of: pd.Timestamp, predicted: list[dict[str, Any]]
) -> None:
    """Against TreeSHAP itself, so that `other` cannot hide a contribution that was lost on the way."""
    model, some = champions.churn.model, predicted[:5]
    spine = pd.DataFrame({"account_id": [record["account_id"] for record in some], "as_of": as_of})
    frame = build(source.tables, spine, model.product_features)
    declared, margins = catalog(model.product_features), model.margins(frame, 3)
    for row, record in enumerate(some):
        by_feature = model.explain(frame.iloc[[row]]).contributions.iloc[0]
        by_driver = by_feature.groupby([declared[name].driver for name in by_feature.index]).sum()
        told = {driver["driver"]: driver["contribution"] for driver in record["reasons"]["drivers"]}
        assert told == pytest.approx({name: by_driver[name] for name in told}, abs=1e-6)
        assert record["reasons"]["other"] == pytest.approx(by_driver.drop(list(told)).sum(), abs=1e-6)
        assert record["reasons"]["raw_score"] == pytest.approx(margins[row].mean(), abs=1e-6), "the mean to the horizon"


def test_reasons_lead_with_the_largest(scored: Scored) -> None:
    for record in scored.records:
        sizes = [abs(driver["contribution"]) for driver in record["reasons"]["drivers"]]
        assert all(earlier > later - TIE for earlier, later in pairwise(sizes))
        for driver in record["reasons"]["drivers"]:
            assert driver["direction"] == ("raises" if driver["contribution"] > 0 else "lowers")
            assert driver["driver"] in DRIVERS


def test_language_of_the_record(
    source: Source, champions: Champions, as_of: pd.Timestamp, predicted: list[dict[str, Any]]
) -> None:
    english = predicted[0]
    settings, one = ScoringSettings(language="fi"), [english["account_id"]]
    finnish = score(source.tables, as_of, champions, settings, versions=VERSIONS, account_ids=one).records[0]
    pairs = zip(english["reasons"]["drivers"], finnish["reasons"]["drivers"], strict=True)
    assert all(en["text"] != fi["text"] and en["contribution"] == fi["contribution"] for en, fi in pairs)
    assert english["play"]["why"] != finnish["play"]["why"]


# Who an account is


def test_who_an_account_is_comes_from_the_version_known_at_t() -> None:
    day = pd.Timestamp("2026-01-01")
    accounts = pd.DataFrame(
        {
            "account_id": ["a", "a", "a", "b"],
            "name": ["new", "old", "later", None],
            "csm": ["Aino", "Matti", "Kaisa", None],
            "strategic": [True, False, False, None],
            "observed_until": [day, day + pd.Timedelta(days=9), day, None],
            "recorded_at": [day - pd.Timedelta(days=1), day - pd.Timedelta(days=9), day, day - pd.Timedelta(days=2)],
        }
    )
    tables = {"accounts": ibis.memtable(accounts)}
    found = identities(tables, pd.Series(["b", "a"]), day)
    assert found["name"].tolist() == ["b", "new"]
    assert found["csm"].tolist()[1] == "Aino"
    assert found["strategic"].tolist() == [False, True]
    assert observed(tables, pd.Series(["a", "b"]), day).tolist() == [True, True]
    assert observed(tables, pd.Series(["a"]), day + pd.Timedelta(hours=1)).tolist() == [False]


def test_a_strategic_account_is_never_held_out(source: Source, champions: Champions, as_of: pd.Timestamp, scored: Scored) -> None:
    held = [r for r in scored.records if r["play"]["name"] != NOTHING and r["play"]["assignment"]["probability"] < 1]
    assert held, "no account was randomised: the check looked at nothing"
    one = held[0]["account_id"]
    accounts = source.tables["accounts"]
    strategic = accounts.mutate(strategic=(accounts.account_id == one))
    tables = source.tables | {"accounts": strategic}
    record = score(tables, as_of, champions, ScoringSettings(), versions=VERSIONS, account_ids=[one]).records[0]
    assert record["play"]["assignment"] == held[0]["play"]["assignment"] | {"arm": "treated", "probability": 1.0}


def test_champions_are_found_by_outcome_and_nearest_horizon(champions: Champions) -> None:
    assert champions.models.keys() == {("churn", 90), ("contraction", 90), ("expansion", 90)}
    assert champions.churn is champions.models["churn", 90]
    assert champions.given_staying("contraction", 180) is champions.models["contraction", 90]
    assert Champions({}, None).given_staying("expansion", 90) is None
    both = replace(champions, models={("expansion", 30): _named("a", champions), ("expansion", 180): _named("b", champions)})
    assert [both.given_staying("expansion", days).name for days in (30, 60, 120, 365)] == ["a", "a", "b", "b"]
    assert 0 < champions.churn_base_rate < 1


def _named(name: str, champions: Champions) -> Champion:
    return replace(champions.models["expansion", 90], name=name)


# The store


@pytest.fixture(scope="module")
def rescored(demo: Any, kunto: Any) -> list[dict[str, Any]]:
    """`kunto score` on the date on which `kunto run` has scored already."""
    ran = kunto("score", "-w", demo.path, "--json")
    assert ran.code == 0, ran.told
    return ran.json


def test_the_run_its_scores_and_its_decisions_are_kept(demo: Any, rescored: list[dict[str, Any]]) -> None:
    first = {record["account_id"]: record for record in demo.ran["score"]}
    second = {record["account_id"]: record for record in rescored}
    with Store.open(Workspace(demo.path).store_url) as store:
        for account_id in list(first)[:5]:
            record = second[account_id]
            history = [kept for kept in store.scores(account_id) if kept.as_of.isoformat() == record["as_of"]]
            assert len({score.run_id for score in history}) == len(history) >= 2, "two runs on one date are both kept"
            earliest, latest = history[0], history[-1]
            assert earliest.record["health"] == first[account_id]["health"]
            assert latest.record["predictions"] == record["predictions"]
            assert latest.record["versions"] == record["versions"]
            assert "contacts" not in latest.record
            assert all("text" not in driver for driver in latest.record["reasons"]["drivers"])
            run = store.run(latest.run_id)
            assert (run.kind, run.as_of.isoformat(), run.versions) == ("score", record["as_of"], record["versions"])
            assert run.counts["scores"] == run.counts["decisions"] == run.counts["accounts"] == len(second)
            assert store.scores(account_id, known_at=earliest.known_at)[0].run_id == earliest.run_id


def test_a_decision_says_what_competed_and_what_was_known(demo: Any, rescored: list[dict[str, Any]]) -> None:
    with Store.open(Workspace(demo.path).store_url) as store:
        for record in rescored:
            decision = store.decisions(record["account_id"])[-1]
            play, nothing = record["play"], record["play"]["name"] == NOTHING
            assert decision.playbook == (None if nothing else play["name"])
            values = [candidate["value"] for candidate in decision.candidates]
            assert values == sorted(values, reverse=True)
            assert decision.candidates[0]["name"] == play["name"]
            assert values[0] == play["expected_value"]
            assert NOTHING in [candidate["name"] for candidate in decision.candidates]
            drawn = play["assignment"]
            expected = (None, None, None) if nothing else (drawn["arm"], drawn["probability"], drawn["seed"])
            assert (decision.assignment, decision.probability, decision.seed) == expected
            for name in ("tier", "stage", "leaving", "arr", "predictions", "versions"):
                assert decision.known[name] == record[name]
            assert decision.known["health"]["band"] == record["health"]["band"]
            assert [d["driver"] for d in decision.known["drivers"]] == [d["driver"] for d in record["reasons"]["drivers"]]


def test_the_store_is_in_the_workspace(demo: Any) -> None:
    assert Path(Workspace(demo.path).store_url.removeprefix("sqlite:///")).parent == demo.path.resolve()
