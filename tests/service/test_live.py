"""Live scoring: a row of features alone is the account that a portfolio run scored, and a bad row fails alone."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.catalogue import catalog
from features.loader import Source, load
from kunto.workspace import Workspace
from models.choice import NOTHING
from models.labels import Outcome
from models.sentences import LANGUAGES
from serving.champions import Champion, Champions, load_champions
from serving.live import LiveScorer, RiskMarks, RowError
from serving.live_rows import LARGEST
from serving.scoring import Scored, ScoringSettings, score

VERSIONS = {"model": "m", "config": "c", "data": "d"}
CLOSE = {"rel": 0, "abs": 1e-9}
Row = dict[str, float | None]


@pytest.fixture(scope="module")
def source(demo: Any) -> Iterator[Source]:
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
    """The portfolio run."""
    return score(source.tables, as_of, champions, ScoringSettings(), versions=VERSIONS)


@pytest.fixture(scope="module")
def marks(scored: Scored) -> RiskMarks:
    found = RiskMarks.of(_churn(record) for record in scored.records if not record["leaving"])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scorer(champions: Champions, marks: RiskMarks) -> LiveScorer:
    return LiveScorer(champions, ScoringSettings(), config_version="c", marks=marks)


@pytest.fixture(scope="module")
def rows(scored: Scored) -> list[Row]:
    """The features that the run computed, as the store gives them back."""
    found = scored.features.drop(columns=["account_id", "as_of"]).to_dict("records")
    return [{name: None if math.isnan(value) else value for name, value in row.items()} for row in found]


@pytest.fixture(scope="module")
def facts(scored: Scored) -> list[dict[str, Any]]:
    return scored.facts.astype("object").where(scored.facts.notna(), None).to_dict("records")


@pytest.fixture(scope="module")
def live(
    scorer: LiveScorer, rows: list[Row], facts: list[dict[str, Any]], scored: Scored, as_of: pd.Timestamp
) -> list[dict[str, Any]]:
    ids = [record["account_id"] for record in scored.records]
    records, errors = scorer.score(rows, as_of, account_ids=ids, facts=facts)
    assert errors == []
    return records


@pytest.fixture(scope="module")
def inline(scorer: LiveScorer, rows: list[Row], as_of: pd.Timestamp) -> list[dict[str, Any]]:
    """The same rows, of nobody in particular."""
    return scorer.score(rows, as_of)[0]


def _churn(record: dict[str, Any]) -> float:
    return record["predictions"][1]["probability"]


def _numbers(value: Any, path: str = "") -> dict[str, Any]:
    """Everything in a record by its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        return {path: value}
    return {name: leaf for key, part in parts for name, leaf in _numbers(part, f"{path}.{key}").items()}


# The same rule


def test_features_alone_give_what_the_portfolio_run_gave(live: list[dict[str, Any]], scored: Scored) -> None:
    assert len(live) == len(scored.records) > 50
    assert any(record["leaving"] for record in live)
    for alone, record in zip(live, scored.records, strict=True):
        expected = record | {"name": None, "csm": None, "contacts": [], "versions": alone["versions"]}
        expected["health"] = record["health"] | {"change_30d": None}
        drivers = []
        for driver, told in zip(record["reasons"]["drivers"], alone["reasons"]["drivers"], strict=True):
            assert driver["text"].startswith(told["text"])  # the values beside it follow
            drivers.append(driver | {"before": None, "peers": None, "text": told["text"]})
        expected["reasons"] = record["reasons"] | {"drivers": drivers}
        found, wanted = _numbers(alone), _numbers(expected)
        assert found.keys() == wanted.keys()
        for path, value in found.items():
            assert value == (pytest.approx(wanted[path], **CLOSE) if isinstance(wanted[path], float) else wanted[path]), path


def test_a_row_alone_is_the_row_in_its_batch_to_the_bit(
    scorer: LiveScorer, rows: list[Row], inline: list[dict[str, Any]], as_of: pd.Timestamp
) -> None:
    for row, record in zip(rows, inline, strict=True):
        assert scorer.score([row], as_of) == ([record], [])


def test_reasons_add_up(inline: list[dict[str, Any]]) -> None:
    for explained in (record["reasons"] for record in inline):
        total = explained["base_value"] + sum(driver["contribution"] for driver in explained["drivers"]) + explained["other"]
        assert total == pytest.approx(explained["raw_score"], abs=1e-6)


def test_what_a_score_was_computed_from_stands_in_the_order_of_its_records(scored: Scored, champions: Champions) -> None:
    ids = [record["account_id"] for record in scored.records]
    assert scored.features["account_id"].tolist() == scored.facts["account_id"].tolist() == ids
    assert champions.churn is not None
    assert list(scored.features.columns) == ["account_id", "as_of", *catalog(champions.churn.model.product_features)]
    assert {"leaving", "mrr", "renewal_at", "notice_by", "strategic", "parent_account_id"} <= set(scored.facts.columns)
    arr = (scored.facts["mrr"] * 12).tolist()
    assert [record["arr"] for record in scored.records] == arr


# A row of a request


def test_who_is_behind_an_inline_row_is_not_known(inline: list[dict[str, Any]], scored: Scored) -> None:
    for record in inline:
        assert record["account_id"] is record["name"] is record["csm"] is None
        assert record["contacts"] == []
        assert record["versions"]["config"] == "c"
        assert record["versions"]["model"].startswith("kunto-churn-90d/1, ")
        assert record["play"]["assignment"]["probability"] == 1.0, "a draw that could not be the same again"
    drawn = [r for r in scored.records if r["play"]["name"] != NOTHING and r["play"]["assignment"]["probability"] < 1]
    assert drawn, "no account was randomised: the check looked at nothing"


def test_a_table_none_of_whose_features_is_given_is_not_connected(
    scorer: LiveScorer, rows: list[Row], as_of: pd.Timestamp
) -> None:
    declared = scorer.catalogue
    some = {name: value for name, value in rows[0].items() if declared[name].source in ("usage", "invoices")}
    few, silent = scorer.score([some, some | {"meetings_90d": None}], as_of)[0]
    assert few == silent
    there = {name for name, points in few["health"]["components"].items() if points is not None}
    assert there == {"usage", "business"}
    assert few["arr"] is few["tier"] is few["renewal"]["date"] is None
    assert few["expected_lifetime_value"] is few["renewal"]["expected_arr"] is None
    met = scorer.score([some | {"meetings_90d": 2.0}], as_of)[0][0]
    assert met["health"]["components"]["engagement"] is not None


def test_dates_are_told_where_a_calendar_has_them(scorer: LiveScorer, as_of: pd.Timestamp) -> None:
    given = [(30.25, -2.0), (0.0, None), (LARGEST, 3e6), (-900_000.0, None)]
    asked = [{"days_to_renewal": renewal, "days_to_notice_deadline": notice} for renewal, notice in given]
    told = [record["renewal"] for record in scorer.score(asked, as_of)[0]]
    today = as_of.date()
    assert [each["date"] for each in told] == [str(today + pd.Timedelta(days=30.25)), str(today), None, None]
    assert [each["notice_by"] for each in told] == [str(today - pd.Timedelta(days=2)), None, None, None]
    assert told[0]["probability"] is not None
    assert [each["probability"] for each in told[2:]] == [None, None], "beyond the curve, and in the past"


def test_those_under_notice_are_listed_not_predicted(champions: Champions, rows: list[Row], as_of: pd.Timestamp) -> None:
    noticed = [{"leaving": True}]
    record = LiveScorer(champions, ScoringSettings()).score(rows[:1], as_of, facts=noticed)[0][0]
    assert record["leaving"] is True
    assert record["predictions"] is record["curve"] is record["arr_at_risk"] is None
    assert record["health"]["score"] <= 19
    under_revenue = LiveScorer(champions, ScoringSettings(notice_is_leaving=False))
    assert under_revenue.score(rows[:1], as_of, facts=noticed)[0][0]["predictions"] is not None


def test_the_language_is_the_readers(scorer: LiveScorer, rows: list[Row], as_of: pd.Timestamp) -> None:
    told = {language: scorer.score(rows[:1], as_of, language=language)[0][0] for language in LANGUAGES}
    assert told["en"]["play"]["why"] != told["fi"]["play"]["why"]
    assert told["en"]["predictions"] == told["fi"]["predictions"]


def test_no_number_that_a_row_may_give_breaks_anything(scorer: LiveScorer, as_of: pd.Timestamp) -> None:
    extremes = (-LARGEST, -1.0, -1e-12, 0.5, 1.0, 7.0, LARGEST)
    asked = [dict.fromkeys(scorer.catalogue, value) | {"mrr": abs(value)} for value in extremes]
    for language in LANGUAGES:
        records, errors = scorer.score(asked, as_of, language=language)
        assert errors == []
        assert json.loads(json.dumps(records, allow_nan=False)) == records
        for record in records:
            for each in record["predictions"]:
                assert 0 <= each["low"] <= each["probability"] <= each["high"] <= 1


# Rows that fail


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"mrr": 900.0, "active_days_30": 3.0}, "Unknown features", r"'active_days_30' \(did you mean 'active_days_30d'\?\)"),
    ({"seats": "many"}, "Not a number", "seats is 'many'; give a number"),
    ({"auto_renew": True}, "Not a number", "auto_renew is True; .*0 or 1 for no or yes"),
    ({"mrr": math.inf, "seats": 10**400}, "Not a number", "mrr is inf, seats is 1000"),
    ({"seats": [1]}, "Not a number", r"seats is \[1\]"),
    ({"mrr": -5}, "Negative revenue", "mrr is -5; give the monthly recurring revenue, 0 or more"),
    ({}, "Nothing known", "give at least one"),
    ({"seats": None, "mrr": math.nan}, "Nothing known", "give at least one"),
]


@pytest.mark.parametrize(("bad", "title", "detail"), BAD, ids=[f"{title} {list(bad)}" for bad, title, _ in BAD])
def test_a_bad_row_fails_alone(
    scorer: LiveScorer,
    rows: list[Row],
    inline: list[dict[str, Any]],
    as_of: pd.Timestamp,
    bad: dict[str, Any],
    title: str,
    detail: str,
) -> None:
    records, [error] = scorer.score([rows[0], bad, rows[1]], as_of)
    assert records == inline[:2]
    assert (error.index, error.title) == (1, title)
    assert re.search(detail, error.detail)


def test_an_error_tells_the_difference_from_the_fitted_columns(
    scorer: LiveScorer, champions: Champions, as_of: pd.Timestamp
) -> None:
    [error] = scorer.score([{"mrr": 900.0, "acitve_days_30d": 3.0, "zzz": 1.0}], as_of)[1]
    assert error.unknown == {"acitve_days_30d": "active_days_30d", "zzz": None}
    fitted = {name for champion in champions.models.values() for name in champion.model.inputs}
    assert error.expected == len(fitted)
    assert set(error.missing) == fitted - {"mrr"}


def test_many_unknown_names_are_told_shortly(scorer: LiveScorer, as_of: pd.Timestamp) -> None:
    strange = [{f"seats_{row}_{number}": 1.0 for number in range(50)} for row in range(5)]
    errors = scorer.score(strange, as_of)[1]
    assert [len(error.unknown) for error in errors] == [10] * 5
    assert "and 40 more" in errors[0].detail
    assert sum(nearest is not None for error in errors for nearest in error.unknown.values()) <= 20, "comparing costs time"


def test_of_a_stored_row_what_is_no_longer_known_is_left_out(
    scorer: LiveScorer, rows: list[Row], inline: list[dict[str, Any]], as_of: pd.Timestamp
) -> None:
    older = rows[0] | {"use_of_fax_90d": 3.0}
    [record], _ = scorer.score([older], as_of, account_ids=["a1"])
    assert record["predictions"] == inline[0]["predictions"]
    assert [error.title for error in scorer.score([older], as_of)[1]] == ["Unknown features"]


# What-if


def test_what_if_nothing_changes_nothing(
    scorer: LiveScorer, rows: list[Row], facts: list[dict[str, Any]], as_of: pd.Timestamp
) -> None:
    for row, fact in zip(rows[:20], facts[:20], strict=True):
        answer, error = scorer.what_if(row, fact, {}, as_of, account_id="a1")
        assert error is None
        assert answer is not None
        assert answer["before"] == answer["after"]
        difference = answer["difference"]
        assert difference["health_score"] == 0
        assert difference["drivers"] == []
        assert difference["play"]["before"] == difference["play"]["after"]
        assert difference["play"]["expected_value"] == 0
        if not fact["leaving"]:
            assert difference["arr_at_risk"] == difference["expected_lifetime_value"] == 0
            assert [each["change"] for each in difference["predictions"]] == [0.0] * 5
        else:
            assert difference["predictions"] is difference["arr_at_risk"] is difference["expected_lifetime_value"] is None


def test_what_if_is_the_score_of_the_changed_features(
    scorer: LiveScorer, rows: list[Row], live: list[dict[str, Any]], facts: list[dict[str, Any]], as_of: pd.Timestamp
) -> None:
    at = next(k for k, record in enumerate(live) if not record["leaving"])
    # A stored row may hold what today's models no longer know.
    changes = {"days_since_last_use": 60.0, "active_days_30d": 0.0, "outreach_answered_share_90d": None}
    account_id = live[at]["account_id"]
    answer, _ = scorer.what_if(rows[at] | {"use_of_fax_90d": 1.0}, facts[at], changes, as_of, account_id=account_id)
    assert answer is not None
    assert answer["before"] == live[at]
    [changed], _ = scorer.score([rows[at] | changes], as_of, account_ids=[account_id], facts=[facts[at]])
    assert answer["after"] == changed
    difference = answer["difference"]
    worth = [record["expected_lifetime_value"] for record in (live[at], changed)]
    assert difference["expected_lifetime_value"] == worth[1] - worth[0]
    smaller, _ = scorer.what_if(rows[at], facts[at], {"mrr": rows[at]["mrr"] / 2}, as_of, account_id=account_id)
    assert smaller["difference"]["expected_lifetime_value"] < -worth[0] / 4
    assert difference["health_score"] == changed["health"]["score"] - live[at]["health"]["score"] < 0
    for told, was, becomes in zip(difference["predictions"], live[at]["predictions"], changed["predictions"], strict=True):
        assert (told["outcome"], told["horizon_days"]) == (was["outcome"], was["horizon_days"])
        assert (told["before"], told["after"]) == (was["probability"], becomes["probability"])
        assert told["change"] == becomes["probability"] - was["probability"]
    sizes = [abs(each["change"]) for each in difference["drivers"]]
    assert sizes == sorted(sizes, reverse=True)
    explained = [record["reasons"]["raw_score"] - record["reasons"]["base_value"] for record in (live[at], changed)]
    assert sum(each["change"] for each in difference["drivers"]) == pytest.approx(explained[1] - explained[0], abs=1e-6)


def test_what_if_refuses_what_it_does_not_know(scorer: LiveScorer, rows: list[Row], as_of: pd.Timestamp) -> None:
    answer, error = scorer.what_if(rows[0], {}, {"seets": 3.0}, as_of)
    assert answer is None
    assert isinstance(error, RowError)
    assert error.unknown == {"seets": "seats"}


# The models


def test_without_a_champion_the_health_score_serves(rows: list[Row], inline: list[dict[str, Any]], as_of: pd.Timestamp) -> None:
    unserved = LiveScorer(Champions({}, 0.07), ScoringSettings())
    unserved.self_test()
    known = [{name: value for name, value in row.items() if name in unserved.catalogue} for row in rows[:5]]
    for record, served in zip(unserved.score(known, as_of)[0], inline, strict=False):
        assert record["predictions"] is record["curve"] is record["arr_at_risk"] is None
        assert record["reasons"]["outcome"] == "health"
        assert record["versions"]["model"] == "health score"
        assert record["health"] == served["health"]
    assert unserved.score([{"seets": 1.0}], as_of)[1][0].expected > 0


@pytest.mark.parametrize("key", [("churn", 90), ("contraction", 90)])
def test_a_model_that_answers_nonsense_does_not_pass(champions: Champions, key: tuple[Outcome, int]) -> None:
    champion = champions.models[key]
    broken = replace(champion.model, calibrator=replace(champion.model.calibrator, slope=math.nan))
    models = champions.models | {key: Champion(champion.name, champion.version, broken)}
    with pytest.raises(ValueError, match=r"JSON|is nan"):
        LiveScorer(Champions(models, None), ScoringSettings()).self_test()


# Disagreement


def test_marks_are_those_of_the_predicted() -> None:
    risks = np.linspace(0, 1, 11).tolist()
    assert RiskMarks.of([*risks, None]) == RiskMarks(middle=0.5, top=0.9)
    assert RiskMarks.of([None]) is RiskMarks.of([]) is None


def test_without_marks_there_is_no_disagreement(champions: Champions, rows: list[Row], as_of: pd.Timestamp) -> None:
    records = LiveScorer(champions, ScoringSettings()).score(rows, as_of)[0]
    assert not any(record["disagreement"] for record in records)
    # Everybody healthy is at the top, everybody critical in the lower half.
    everyone = LiveScorer(champions, ScoringSettings(), marks=RiskMarks(middle=2.0, top=0.0)).score(rows, as_of)[0]
    for record in everyone:
        assert record["disagreement"] == (record["health"]["band"] in ("healthy", "critical"))
    assert any(record["disagreement"] for record in everyone)


def test_an_account_scored_by_itself_disagrees_by_the_marks_given(
    source: Source, champions: Champions, as_of: pd.Timestamp, scored: Scored
) -> None:
    whole = next(r for r in scored.records if r["health"]["band"] == "healthy" and not r["leaving"] and not r["disagreement"])
    settings, one, low = ScoringSettings(), [whole["account_id"]], RiskMarks(middle=0.0, top=0.0)
    [record] = score(source.tables, as_of, champions, settings, versions=VERSIONS, account_ids=one, marks=low).records
    assert record == whole | {"disagreement": True}
