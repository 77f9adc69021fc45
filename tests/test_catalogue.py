"""The contract of every feature in the catalogue, and of the builder that computes them."""

import re
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pytest
from random_tables import DAY, random_tables

from features import builder
from features.builder import build, snapshot
from features.catalogue import DRIVERS, Feature, as_markdown, catalog, counts
from features.contract import REQUIRED_TABLES, TABLES
from features.plan import FACTS
from features.revenue import mrr_at
from models.health import default_scorecard
from models.labels import timeline

DOCS = Path(__file__).resolve().parents[1] / "docs" / "features.md"
PRODUCT_FEATURES = ("open", "Save!", "save")
FEATURES = catalog(PRODUCT_FEATURES)
COUNTS = {count.name: count for count in counts(PRODUCT_FEATURES)}
READ = sorted({count.source for count in COUNTS.values()})
OPTIONAL = [name for name in TABLES if name not in REQUIRED_TABLES]
#: Columns of the health input that are made of the snapshot's facts, and are no features.
FLAGS = {"notice_given", "days_since_active_user", "account_age_days"}
#: Missing where nothing was asked or there is nothing to divide by; in silence all others of their tables have a value.
UNASKED = {
    *("first_response_hours_90d", "resolution_hours_90d", "sentiment_30d", "sentiment_90d", "tickets_per_user_90d"),
    *("nps_last", "nps_age_days", "nps_change", "csat_last", "csat_age_days", "ces_last", "ces_age_days"),
    *("survey_response_rate_365d", "goals_reached_share", "goal_progress_mean", "goal_progress_mean_vs_peers"),
    *("goal_progress_last", "days_since_goal_measured", "outreach_answered_share_90d", "days_since_touch", "days_since_meeting"),
    *("onboarding_finished", "late_days_mean_365d", "paid_late_share_365d", "onboarding_late_days", "late_days_change_90d"),
    *("sentiment_change_90d", "resolution_hours_change_90d", "high_priority_share_90d"),
    *("nps_step", "csat_mean_90d", "days_since_survey_answer", "goal_progress_change_90d", "goal_progress_lowest"),
    *("outreach_answered_share_30d", "decision_maker_share_30d", "decision_maker_share_90d"),
    *("outreach_answered_share_365d", "outreach_answered_change_90d", "days_since_reply"),
    *("decision_maker_meetings_share_365d", "days_since_decision_maker_met", "days_without_champion"),
    *("low_use_months", "events_30d_of_best_month", "events_30d_of_best_month_vs_peers", "goal_progress_latest"),
    *("goal_progress_of_best", "days_since_payment", "days_since_escalation", "days_since_contact"),
    *("contact_share_30d", "contact_share_60d", "decision_maker_share_60d"),
    *("contacts_trend_30d_of_365d", "tickets_trend_30d_of_210d"),
    *("offers_won_share_365d", "days_since_offer_decided", "days_since_play"),
    *("events_trend_7d", "events_trend_30d_of_210d", "events_trend_90d_of_365d"),  # a customer of five days has no earlier period
}
AT = pd.Timestamp("2025-06-10 09:00")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return random_tables(5, 60, {"usage": 3000}, "2024-06-01", "2025-12-01")


@pytest.fixture(scope="module")
def spine(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    accounts = tables["accounts"]["account_id"].head(40)
    return pd.DataFrame({"account_id": accounts, "as_of": AT}).sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def built(tables: dict[str, pd.DataFrame], spine: pd.DataFrame) -> pd.DataFrame:
    return build(tables, spine, PRODUCT_FEATURES)


def reads(feature: Feature) -> set[str]:
    """Return the counts that a feature's expression reads."""
    return READS[feature.name]


FRAME = ibis.table({"as_of": "int64"} | dict.fromkeys(COUNTS, "int64"))
READS = {
    name: {field.name for field in feature.expr(FRAME).op().find(ibis.expr.operations.Field)} - {"as_of"}
    for name, feature in FEATURES.items()
}


# --- declarations ---------------------------------------------------------------------------------------------------------------


def test_there_are_enough_features_and_each_name_once():
    assert 150 <= len(catalog()) <= 200
    assert {feature.source for feature in catalog().values()} == set(TABLES) - {"accounts", "fx"}
    assert len(COUNTS) == len(counts(PRODUCT_FEATURES))
    assert {"use_of_open_90d", "use_of_save_90d", "use_of_save_2_90d"} <= set(FEATURES)
    assert len(catalog(["a", "b"])) == len(catalog()) + 4


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_a_declaration_is_complete(feature, built):
    assert FEATURES[feature.name] is not None
    assert re.fullmatch(r"[a-z0-9_]+", feature.name), "LightGBM takes no other column names as they are"
    assert feature.unit
    assert feature.source in TABLES
    assert feature.window is None or feature.window > 0
    assert feature.driver in DRIVERS
    assert feature.direction in (-1, 0, 1)
    assert set(feature.phrase) == {"en", "fi"}
    assert all(text.strip() == text and text for text in feature.phrase.values())
    assert feature.phrase["en"] != feature.phrase["fi"]
    assert reads(feature)
    assert any(COUNTS[name].source == feature.source for name in reads(feature))
    assert built[feature.name].dtype == np.float64
    assert not np.isinf(built[feature.name]).any()


def test_phrases_tell_features_apart():
    for language in ("en", "fi"):
        phrases = [feature.phrase[language] for feature in FEATURES.values()]
        assert sorted({phrase for phrase in phrases if phrases.count(phrase) > 1}) == []


def test_every_count_is_read():
    used = set().union(*(reads(feature) for feature in FEATURES.values())) | set(FACTS)
    assert set(COUNTS) - used == set()


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_a_count_needs_columns_of_its_table(count):
    assert count.source in TABLES
    assert set(count.needs) <= {*TABLES[count.source].names, "contact_role"}


def test_the_scorecard_reads_what_there_is():
    assert set(default_scorecard().features(set(TABLES))) <= set(catalog()) | FLAGS


def test_the_documentation_is_the_catalogue():
    command = "python -c 'from features.catalogue import as_markdown; print(as_markdown(), end=\"\")' > docs/features.md"
    assert DOCS.read_text(encoding="utf-8") == as_markdown(), f"run: {command}"


# --- what is missing, and what is silent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [name for name in READ if name not in REQUIRED_TABLES])
def test_without_a_table_its_features_are_missing(table, tables, spine, built):
    found = build({name: frame for name, frame in tables.items() if name != table}, spine, PRODUCT_FEATURES)
    assert list(found) == list(built)
    for name, feature in FEATURES.items():
        if {COUNTS[count].source for count in reads(feature)} & {table}:
            assert found[name].isna().all(), name
        elif table != "contacts":  # contacts tell the roles of those whom touchpoints met
            pd.testing.assert_series_equal(found[name], built[name])


def test_tables_that_no_feature_reads_change_nothing(tables, spine, built):
    few = {name: frame for name, frame in tables.items() if name in {*READ, *REQUIRED_TABLES, "fx"}}
    pd.testing.assert_frame_equal(build(few, spine, PRODUCT_FEATURES), built)


def test_required_columns_are_enough(tables, spine):
    least = {name: frame[list({*TABLES[name].required, TABLES[name].event})] for name, frame in tables.items()}
    found = snapshot(least, spine)
    assert list(found.features) == ["account_id", "as_of", *catalog()]
    assert found.facts["active"].any(), "without prices each row counts one"
    assert found.facts["mrr"].isna().all(), "and no money is reported"


@pytest.mark.parametrize("first", range(0, max(len(table.names) - len(table.required) for table in TABLES.values()), 2))
def test_without_an_optional_column_what_needs_it_is_missing(first, tables, spine, built):
    """Two columns of every table at a time."""
    optional = {name: [column.name for column in table.columns if not column.required] for name, table in TABLES.items()}
    absent = {name: set(columns[first : first + 2]) for name, columns in optional.items()}
    found = build({name: frame.drop(columns=absent[name]) for name, frame in tables.items()}, spine, PRODUCT_FEATURES)
    assert list(found) == list(built)
    assert (found.dtypes == built.dtypes).all()
    for name, feature in FEATURES.items():
        needed = {count for count in reads(feature) if absent[COUNTS[count].source] & set(COUNTS[count].needs)}
        # Either of user_id and users is enough to count users.
        users = {count for count in needed if count.startswith("users_")}
        if needed - users or (users and users == {count for count in reads(feature) if count.startswith("users_")}):
            assert found[name].isna().all(), name


def test_rows_that_no_instant_places_are_as_if_not_connected(tables, spine):
    undated = tables | {"contacts": tables["contacts"].drop(columns=["valid_from", "recorded_at"])}
    assert build(undated, spine)["decision_makers"].isna().all()


def test_silence_is_a_value():
    """One account with a subscription, and every other table connected without a row of it."""
    connected = {name: pd.DataFrame({column: [] for column in table.names}) for name, table in TABLES.items() if name != "fx"}
    connected["accounts"] = pd.DataFrame({"account_id": ["a"]})
    row = {"account_id": "a", "started_at": AT - 5 * DAY, "mrr": 10, "seats": 5}
    connected["subscriptions"] = pd.DataFrame([row])
    found = build(connected, pd.DataFrame({"account_id": ["a"], "as_of": [AT]})).iloc[0]
    silent = {name: found[name] for name, feature in catalog().items() if feature.source != "subscriptions"}
    assert {name for name, value in silent.items() if np.isnan(value)} == UNASKED
    as_long_as_it_is_a_customer, as_far_as_recency_counts = 5, 180
    assert {name: value for name, value in silent.items() if value != 0 and name not in UNASKED} == {
        "longest_silence_90d": as_long_as_it_is_a_customer,
        "days_since_last_use": as_far_as_recency_counts,
        "days_to_first_use": as_long_as_it_is_a_customer,
    }


# --- rows in, rows out ----------------------------------------------------------------------------------------------------------


def test_inputs_stay_as_they_are(tables, spine, built):
    before = {name: frame.copy(deep=True) for name, frame in tables.items()}, spine.copy(deep=True)
    pd.testing.assert_frame_equal(build(tables, spine, PRODUCT_FEATURES), built)
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(frame, before[0][name])
    pd.testing.assert_frame_equal(spine, before[1])


def test_columns_order_index_and_duplicates(tables, spine, built):
    assert list(built) == ["account_id", "as_of", *FEATURES]
    twice = pd.concat([spine.head(3), spine.head(2)])
    twice.insert(0, "other", 1)
    found = snapshot(tables, twice, PRODUCT_FEATURES)
    for part in (found.features, found.facts, found.peers):
        pd.testing.assert_index_equal(part.index, twice.index)
    pd.testing.assert_frame_equal(found.features[["account_id", "as_of"]], twice[["account_id", "as_of"]], check_dtype=False)
    pd.testing.assert_frame_equal(found.features, pd.concat([built.head(3), built.head(2)]))


def test_engines_and_chunks_do_not_matter(tables, spine, monkeypatch):
    instants = pd.concat([spine.head(9).assign(as_of=AT + days * DAY) for days in (3, 0, 2, 1)], ignore_index=True)
    seen = []
    expected = snapshot(tables, instants, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(36, 36)]
    monkeypatch.setattr(builder, "CHUNK_ROWS", 100)
    connection = ibis.duckdb.connect(threads=2)
    mixed = {
        name: connection.create_table(name, frame) if position % 2 else frame
        for position, (name, frame) in enumerate(tables.items())
    }
    found = snapshot(mixed, ibis.memtable(instants), progress=lambda done, total: seen.append((done, total)))
    assert seen[1:] == [(18, 36), (36, 36)]
    for part in ("features", "facts", "peers"):
        pd.testing.assert_frame_equal(getattr(found, part), getattr(expected, part))


def test_an_unknown_account_and_an_instant_before_everything(tables):
    spine = pd.DataFrame({"account_id": ["nobody", "a0001"], "as_of": [AT, pd.Timestamp("1999-01-01")]})
    found = snapshot(tables, spine)
    assert found.facts["active"].tolist() == [False, False]
    assert found.facts["leaving"].tolist() == [False, False]
    assert found.facts[["renewal_at", "notice_by", "product"]].isna().all(axis=None)
    assert found.peers.isna().all(axis=None), "peers are those who are active at T"
    assert found.features["tenure_days"].isna().all()
    assert (found.features[["mrr", "events_30d", "tickets_90d"]] == 0).all(axis=None)


def test_an_empty_spine(tables):
    found = snapshot(tables, pd.DataFrame({"account_id": [], "as_of": []}))
    assert (len(found.features), len(found.facts), len(found.peers)) == (0, 0, 0)
    assert list(found.features) == ["account_id", "as_of", *catalog()]


def test_instants_are_utc(tables, spine, built):
    zoned = spine.assign(as_of=spine["as_of"].dt.tz_localize("UTC").dt.tz_convert("Europe/Helsinki"))
    pd.testing.assert_frame_equal(build(tables, zoned, PRODUCT_FEATURES), built)
    text = spine.assign(as_of=spine["as_of"].dt.strftime("%Y-%m-%d %H:%M"))
    pd.testing.assert_frame_equal(build(tables, text, PRODUCT_FEATURES), built)


@pytest.mark.parametrize(
    ("change", "spine", "told"),
    [
        ({"subscriptions": None}, {}, "tables lacks 'subscriptions', which is required; given: accounts"),
        ({"clients": pd.DataFrame({"a": [1]})}, {}, "'clients', which the contract does not know; known: accounts, "),
        ({"tickets": pd.DataFrame({"ticket_id": ["t"]})}, {}, "table 'tickets' lacks the required column 'account_id': map it"),
        (
            {"usage": pd.DataFrame({"account_id": ["a"], "feature": ["x"], "occurred_at": [AT.tz_localize("UTC")]})},
            {},
            "usage.occurred_at has the time zone UTC: give naive times, in UTC",
        ),
        ({}, {"as_of": None}, "spine.as_of is null in 1 row"),
        ({}, {"account_id": None}, "spine.account_id is null in 1 row"),
    ],
)
def test_errors_say_what_to_do(change, spine, told):
    given = {"accounts": pd.DataFrame({"account_id": ["a"]})}
    given["subscriptions"] = pd.DataFrame({"account_id": ["a"], "started_at": [AT - DAY]})
    given = {name: frame for name, frame in (given | change).items() if frame is not None}
    with pytest.raises(ValueError, match=re.escape(told)):
        build(given, pd.DataFrame([{"account_id": "a", "as_of": AT} | spine]))
    with pytest.raises(ValueError, match=re.escape("spine lacks the column 'as_of'; it has: account_id")):
        build(given, pd.DataFrame({"account_id": ["a"]}))


# --- money, standing and peers --------------------------------------------------------------------------------------------------


def test_mrr_is_that_of_revenue(tables):
    instants = pd.DataFrame({"as_of": [AT - 200 * DAY, AT.normalize(), AT, AT + 100 * DAY]})
    spine = tables["accounts"][["account_id"]].merge(instants, how="cross")
    fx = tables["fx"]
    versions = fx.sample(frac=0.5, random_state=1)
    versions = versions.assign(rate=versions["rate"] * 2, recorded_at=versions["date"] + pd.Timedelta(days=45))
    fx = pd.concat([fx, versions], ignore_index=True)
    found = snapshot(tables | {"fx": fx}, spine)
    expected = mrr_at(tables["subscriptions"], spine, fx=fx).astype("float64")
    assert expected.gt(0).mean() > 0.3
    pd.testing.assert_series_equal(found.facts["mrr"], expected)
    pd.testing.assert_series_equal(found.features["mrr"], expected)
    seen = timeline(tables["subscriptions"], spine, data_until="2026-06-01", fx=fx)
    pd.testing.assert_series_equal(found.facts["active"], seen["active"])
    pd.testing.assert_series_equal(found.facts["leaving"], seen["leaving"])


def company(currencies: list[str | None]) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "account_id": "a",
            "subscription_id": str(number),
            "started_at": AT - 99 * DAY,
            "mrr": 10 * (number + 1),
            "currency": currency,
        }
        for number, currency in enumerate(currencies)
    ]
    return {"accounts": pd.DataFrame({"account_id": ["a"]}), "subscriptions": pd.DataFrame(rows)}


def rates(*rows: tuple[str, pd.Timestamp, float, pd.Timestamp | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["currency", "date", "rate", "recorded_at"]).astype({"recorded_at": "datetime64[us]"})


def test_the_rate_is_the_last_one_known_before_the_instant():
    given = company(["EUR", "USD", None])
    tick, spine = pd.Timedelta(microseconds=1), pd.DataFrame({"account_id": ["a"], "as_of": [AT]})
    fx = rates(
        ("USD", AT - 50 * DAY, 2.0, None),
        ("USD", AT - 3 * DAY, 0.5, AT - tick),
        ("USD", AT - 2 * DAY, 7.0, AT),
        ("USD", AT, 9.0, None),
    )
    found = snapshot(given | {"fx": fx}, spine)
    assert found.facts["mrr"].tolist() == [10 + 20 * 0.5 + 30]
    assert mrr_at(given["subscriptions"], spine, fx=fx).tolist() == [10 + 20 * 0.5 + 30]
    with pytest.raises(ValueError, match=r"no rate of USD at 2025-04-01 .* recorded before it"):
        mrr_at(given["subscriptions"], pd.DataFrame({"account_id": ["a"], "as_of": [pd.Timestamp("2025-04-01")]}), fx=fx)
    assert found.features["mrr_change_90d"].tolist() == [0.0], "a change of rates is no change of price"
    invoice = {"invoice_id": "i", "account_id": "a", "amount": 80, "issued_at": AT - 60 * DAY, "due_at": AT - 30 * DAY}
    invoices = pd.DataFrame([invoice | {"currency": "USD", "paid_at": pd.NaT}])
    assert build(given | {"fx": fx, "invoices": invoices}, spine)["overdue_share_of_mrr"].tolist() == [0.8]


def test_currencies_without_rates():
    spine = pd.DataFrame({"account_id": ["a"], "as_of": [AT]})
    assert snapshot(company(["USD", "USD"]), spine).facts["mrr"].tolist() == [30], "the only currency is the reporting one"
    with pytest.raises(ValueError, match=r"2 currencies without a rate \(EUR, USD\)"):
        build(company(["EUR", "USD"]), spine)
    late = {"fx": rates(("USD", AT, 2.0, None))}
    with pytest.raises(ValueError, match=r"no rate for the currency of account a before 2025-06-10.*: give fx rates from"):
        build(company(["EUR", "USD"]) | late, spine)


def test_a_person_met_has_the_role_held_at_the_instant():
    roles = {
        "promoted": [("user", 90, None), ("decision_maker", 9, None)],
        "demoted": [("executive", 90, None), ("user", 9, None)],
        "left": [("decision_maker", 90, 9)],
        "leaves later": [("executive", 90, -9)],
        "at once": [("decision_maker", 90, None), ("user", 90, None)],
    }
    contacts = [
        {
            "contact_id": contact,
            "account_id": "a",
            "role": role,
            "valid_from": AT - start * DAY,
            "valid_to": end and AT - end * DAY,
        }
        for contact, held in roles.items()
        for role, start, end in held
    ]
    met = [
        {"account_id": "a", "kind": "call", "occurred_at": AT - 20 * DAY, "contact_id": contact}
        for contact in [*roles, "unknown"]
    ]
    given = company([None]) | {
        "contacts": pd.DataFrame(contacts).sample(frac=1, random_state=2),
        "touchpoints": pd.DataFrame(met),
    }
    found = build(given, pd.DataFrame({"account_id": ["a"], "as_of": [AT]})).iloc[0]
    assert found["contacts_met_90d"] == 6
    assert found["decision_makers_met_90d"] == 3, "promoted, leaves later; of roles begun at once the first by name"
    assert found["roles_met_90d"] == 3
    assert found["decision_makers"] == 4, "whoever has such a role that has not ended"
    assert found["decision_makers_left_180d"] == 1


def test_peers_are_those_of_the_segment_that_is_large_enough():
    size = {"core small": 20, "core large": 4, "extra small": 3}
    rows = [
        {"account_id": f"{segment} {number}", "started_at": AT - 9 * DAY, "mrr": 10 + number, "seats": 10}
        | dict(zip(("product", "plan"), segment.split(), strict=True))
        for segment, accounts in size.items()
        for number in range(accounts)
    ]
    given = {"subscriptions": pd.DataFrame(rows)}
    given["accounts"] = given["subscriptions"][["account_id"]]
    # One row more, of another product and smaller: the largest decides.
    given["subscriptions"].loc[len(rows)] = {**rows[0], "mrr": 1, "product": "extra"}
    asked = [f"{segment} 0" for segment in size]
    found = snapshot(given, pd.DataFrame({"account_id": asked, "as_of": AT}))
    per_seat = [row["mrr"] / 10 for row in rows]
    per_seat[0] = 11 / 20
    expected = [np.median(per_seat[:20]), np.median(per_seat[:24]), np.median(per_seat)]
    assert found.peers["mrr_per_seat"].tolist() == pytest.approx(expected)
    own = found.features["mrr_per_seat"]
    assert found.features["mrr_per_seat_vs_peers"].tolist() == pytest.approx(((own - expected) / (own + expected)).tolist())
    # A row that starts and is recorded during the day moves the account's own values, and its peers' only from midnight on.
    given["subscriptions"].loc[len(rows) + 1] = {**rows[1], "mrr": 900, "started_at": AT - pd.Timedelta(hours=1)}
    later = snapshot(given, pd.DataFrame({"account_id": asked, "as_of": AT}))
    assert later.peers["mrr_per_seat"].tolist() == pytest.approx(expected)
