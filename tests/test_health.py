"""The health score: golden cases, exact rounding, silence as evidence, and the contract of the default scorecard."""

import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from features.catalogue import catalog
from features.contract import TABLES
from models.health import BANDS, NO_SCORE, Scorecard, combine, curve, default_scorecard, fade, score

GOLDEN = Path(__file__).resolve().parents[1].parent / "shared" / "golden" / "health.json"
CARD = default_scorecard()
ALL = {table for measure in CARD.measures for table in measure.tables}
WEIGHTS = {part.name: part.weight for part in CARD.components}
#: Columns of the health input that are no model features.
FLAGS = {"notice_given", "days_since_active_user"}
GOOD = {
    "notice_given": 0, "overdue_days_max": 0, "days_since_active_user": 0, "tenure_days": 2000, "active_days_30d": 25,
    "tickets_per_user_90d": 0, "cancellation_page_visits_30d": 0, "reopened_90d": 0, "escalated_90d": 0, "late_days_mean_365d": 0,
    "resolution_hours_90d": 0, "days_since_touch": 0, "complaints_180d": 0, "feature_requests_180d": 0,
}  # fmt: skip


def account(**values):
    """One account on which every measure earns 100, but for the given features."""
    best = {measure.feature: max(measure.knots, key=lambda knot: knot[1])[0] for measure in CARD.measures}
    ages = {measure.age_feature: 0.0 for measure in CARD.measures if measure.age_feature}
    return pd.DataFrame([best | ages | GOOD | values], dtype=float)


def only(frame, connected=ALL):
    return score(frame, set(connected)).accounts.iloc[0]


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden files are not beside the project")
def test_golden():
    golden = json.loads(GOLDEN.read_text())
    assert golden["weights"] == WEIGHTS
    for case in golden["cases"]:
        for weights in (golden["weights"], None):
            found = combine(case["components"], weights, case.get("exceptions", ()))
            for name in ("score", "band", "coverage"):
                assert getattr(found, name) == case[name], case
            if "bound_by" in case:
                assert found.bound_by == case["bound_by"], case
    for case in golden["curve"]:
        assert curve(case["knots"], case["x"]) == case["y"]
    for case in golden["fade"]:
        assert fade(case["age_days"], case["half_life_days"]) == case["factor"]


POINTS = st.none() | st.decimals(0, 100, places=2) | st.sampled_from([Decimal("19.5"), Decimal("49.5"), Decimal("79.5")])


@settings(deadline=None)
@given(
    components=st.fixed_dictionaries(dict.fromkeys(WEIGHTS, POINTS)),
    exceptions=st.sets(st.sampled_from([exception.name for exception in CARD.exceptions])),
)
def test_combine_is_exact(components, exceptions):
    found = combine(components, exceptions=sorted(exceptions))
    there = {name: value for name, value in components.items() if value is not None}
    if not there:
        assert (found.score, found.band, found.bound_by) == (None, None, None)
        return
    weights = {name: Decimal(WEIGHTS[name]) for name in there}
    total = sum(weights[name] * value for name, value in there.items()) / sum(weights.values())
    rounded = int(total.quantize(Decimal(1), ROUND_HALF_UP))
    caps = sorted((exception.cap, exception.name) for exception in CARD.exceptions if exception.name in exceptions)
    binding = [(cap, name) for cap, name in caps if cap < rounded]
    assert found.score == min([rounded, *(cap for cap, _ in caps)])
    assert (found.bound_by is None) == (not binding)
    if binding:
        assert {name: cap for cap, name in binding}[found.bound_by] == binding[0][0]
    assert found.band == next(name for name, lowest in BANDS if found.score >= lowest)
    assert found.coverage == float(sum(weights.values()) / 100)
    assert found.provisional == (found.coverage < 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"components": {"use": 3}}, "unknown component use; there are: usage, engagement"),
        ({"components": {"usage": 3}, "exceptions": ["gone"]}, "unknown exception gone; there are: notice_given"),
        ({"components": {"usage": 101}}, "must lie within 0–100"),
    ],
)
def test_combine_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        combine(**arguments)


def test_a_perfect_account():
    found = only(account())
    assert (found["score"], found["band"], found["coverage"]) == (100, "healthy", 1.0)
    assert pd.isna(found["bound_by"])
    assert pd.isna(found["no_score"])


def test_silence_is_evidence_and_only_the_unasked_is_missing():
    silent = pd.DataFrame([dict.fromkeys(CARD.features(ALL), np.nan)], dtype=float).assign(tenure_days=400.0)
    found = only(silent, {"usage"})
    assert found["component_usage"] == 0
    assert np.isnan(found["component_feedback"])
    touched = score(silent, {"touchpoints"})
    assert np.isnan(touched.points["outreach_answered_share_90d"].iloc[0])
    assert touched.points["days_since_touch"].iloc[0] == 0
    assert (
        score(silent.assign(outreach_answered_share_90d=0.0), {"touchpoints"}).points["outreach_answered_share_90d"].iloc[0] == 0
    )
    assert score(silent, {"surveys"}).accounts["no_score"].tolist() == ["nothing_measured"]


def test_no_tickets_earn_nothing_without_use():
    unused = account(active_days_30d=0)
    found = score(unused, ALL).points.iloc[0]
    assert found[["tickets_per_user_90d", "reopened_90d", "escalated_90d", "events_trend_30d_of_210d"]].tolist() == [0] * 4
    unknown = score(unused, {"tickets"}).points.iloc[0]
    assert unknown["reopened_90d"] == 100


def test_a_missing_table_lowers_coverage():
    without = only(account(), ALL - {"surveys", "outcomes"})
    assert (without["score"], without["coverage"], without["provisional"]) == (100, 0.9, False)
    part = only(account(), ALL - {"observations"})
    assert part["coverage"] == pytest.approx(1 - 0.2 * 0.15)
    few = only(account(), {"tickets", "invoices"})
    assert few["provisional"]
    assert few["score"] == 100
    assert pd.isna(few["band"])


def test_nothing_connected_is_no_score_with_its_reason():
    found = only(pd.DataFrame(index=[0]), set())
    assert pd.isna(found["score"])
    assert pd.isna(found["band"])
    assert found["coverage"] == 0
    assert found["no_score"] == "not_connected"
    assert all(NO_SCORE[found["no_score"]].values())


@pytest.mark.parametrize(
    ("values", "connected", "total", "bound_by"),
    [
        ({"notice_given": 1}, ALL, 19, "notice_given"),
        ({"notice_given": 1}, ALL - {"subscriptions"}, 100, None),
        ({"overdue_days_max": 60}, ALL, 94, None),
        ({"overdue_days_max": 60.5}, ALL, 49, "invoice_overdue_60"),
        ({"overdue_days_max": 61, "notice_given": 1}, ALL, 19, "notice_given"),
        ({"days_since_active_user": 30}, ALL, 49, "no_active_user_30"),
        ({"days_since_active_user": np.nan}, ALL, 49, "no_active_user_30"),
        ({"days_since_active_user": 29.9}, ALL, 100, None),
        ({"days_since_active_user": np.nan, "tenure_days": 29}, ALL, 99, None),
    ],
)
def test_exceptions_cap_the_total(values, connected, total, bound_by):
    found = only(account(**values), connected)
    assert found["score"] == total
    assert (None if pd.isna(found["bound_by"]) else found["bound_by"]) == bound_by


def test_an_old_answer_weighs_less():
    fresh = only(account(nps_last=0), {"surveys"})["component_feedback"]
    old = only(account(nps_last=0, nps_age_days=90), {"surveys"})["component_feedback"]
    assert fresh == pytest.approx(100 * 30 / 55)
    assert old == pytest.approx(100 * 30 / 42.5)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_score_of_many_is_the_score_of_each_and_of_combine(data):
    names = CARD.features(ALL)
    value = st.none() | st.floats(-5, 400, width=32)
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, value)), min_size=1, max_size=4))
    connected = data.draw(st.sets(st.sampled_from(sorted(ALL))))
    frame = pd.DataFrame(rows, dtype=float)
    found = score(frame, connected)
    for position in range(len(frame)):
        alone = score(frame.iloc[[position]], connected)
        pd.testing.assert_frame_equal(alone.accounts, found.accounts.iloc[[position]])
        row = found.accounts.iloc[position]
        parts = {name: None if np.isnan(row[f"component_{name}"]) else row[f"component_{name}"] for name in WEIGHTS}
        holding = [e.name for e in CARD.exceptions if connected.issuperset(e.tables) and _holds(e, rows[position])]
        expected = combine(parts, exceptions=holding)
        assert expected.score == (None if pd.isna(row["score"]) else row["score"])
        assert expected.bound_by == (None if pd.isna(row["bound_by"]) else row["bound_by"])
        if not row["provisional"]:
            assert row["band"] == expected.band
        if expected.score is not None:
            shares = found.weights.iloc[position]
            assert shares.sum() == pytest.approx(1)
            there = {name: value for name, value in parts.items() if value is not None}
            before_rounding = sum(WEIGHTS[name] * value for name, value in there.items()) / sum(WEIGHTS[name] for name in there)
            assert (shares * found.points.iloc[position]).sum() == pytest.approx(before_rounding)


def _holds(exception, row):
    for condition in exception.when:
        value = row[condition.feature]
        value = condition.silence if value is None else value
        if not (value >= condition.at_least if condition.at_least is not None else value > condition.above):
            return False
    return True


def test_measures_are_listed_costliest_first():
    found = score(pd.concat([account(csat_last=1, seat_use_30d=0.3), account()]), ALL - {"observations"})
    long = found.measures()
    assert long.columns.tolist() == ["row", "feature", "points", "weight", "lost"]
    first = long[long["row"] == 0]
    assert first["feature"].iloc[:2].tolist() == ["seat_use_30d", "csat_last"]
    assert first["lost"].iloc[0] == pytest.approx(0.3 * 0.25 * (100 - 160 / 3))
    assert "complaints_180d" not in set(first["feature"])
    assert long[long["row"] == 1]["lost"].sum() == 0


def test_a_lacking_feature_is_named():
    with pytest.raises(KeyError, match="the frame lacks nps_age_days, nps_last"):
        score(account().drop(columns=["nps_last", "nps_age_days"]), ALL)


def test_index_and_input_are_left_alone():
    frame = pd.concat([account(), account(notice_given=1)]).set_axis(["b", "a"])
    before = frame.copy()
    found = score(frame, ALL)
    pd.testing.assert_frame_equal(frame, before)
    assert found.accounts["score"].to_dict() == {"b": 100, "a": 19}
    assert found.accounts["score"].dtype == "Int64"
    assert found.points.index.tolist() == found.weights.index.tolist() == ["b", "a"]


@pytest.mark.parametrize("measure", CARD.measures, ids=lambda measure: measure.feature)
def test_contract_of_each_measure(measure):
    assert set(measure.tables) <= set(TABLES)
    points = [earned for _, earned in measure.knots]
    assert points in (sorted(points), sorted(points, reverse=True))
    assert {min(points) <= 50, max(points) == 100} == {True}
    assert measure.title.en != measure.title.fi


def test_contract_of_the_scorecard():
    assert sum(WEIGHTS.values()) == 100
    assert all(sum(measure.weight for measure in part.measures) == 100 for part in CARD.components)
    assert [(exception.name, exception.cap) for exception in CARD.exceptions] == [
        ("notice_given", 19),
        ("invoice_overdue_60", 49),
        ("no_active_user_30", 49),
    ]


def test_every_feature_is_in_the_catalogue():
    assert set(CARD.features(ALL)) - FLAGS <= set(catalog())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"knots": [[1, 0], [0, 100]]}, "knots must ascend"),
        ({"silence": 0, "asked": True}, "either `silence`"),
        ({"age_feature": "x"}, "together"),
        ({"knots": [[0, 0], [1, 120]]}, "less than or equal to 100"),
        ({"title": {"en": "x"}}, "fi"),
    ],
)
def test_a_wrong_scorecard_is_refused(change, message):
    card = CARD.model_dump()
    measure = card["components"][0]["measures"][0]
    measure.update({"asked": False, "silence": 0.0} if "age_feature" in change or "knots" in change else {})
    measure.update(change)
    with pytest.raises(ValidationError, match=message):
        Scorecard.model_validate(card)


def test_a_measure_stands_once():
    card = CARD.model_dump()
    card["components"][1]["measures"] = card["components"][0]["measures"]
    with pytest.raises(ValidationError, match="each measured feature may stand once, twice there: active_days_30d"):
        Scorecard.model_validate(card)
