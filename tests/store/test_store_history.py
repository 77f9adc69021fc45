"""Score history: what goes in comes out, and stands where it should in both times."""

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.store import HealthPoint, Identity, Store, StoreError, UnknownAccountError
from serving.store.instants import utc

MARCH = datetime(2026, 3, 1)


def test_a_scored_account_comes_back_with_its_numbers_and_its_identity(store, write, record):
    given_record = record()
    untouched = json.dumps(given_record)
    run = write(store, [given_record])
    [score] = store.scores("a1")
    assert json.dumps(given_record) == untouched
    assert (score.run_id, score.as_of, score.known_at) == (run.run_id, MARCH, run.finished_at)
    assert run.started_at <= score.scored_at <= score.known_at
    expected = record()
    del expected["contacts"], expected["play"]["why"]
    for driver in expected["reasons"]["drivers"]:
        del driver["text"]
    assert score.record == expected


def test_columns_for_sorting_are_taken_out_of_the_record(store, write, record):
    write(store, [record()])
    with store._database.reading() as connection:
        row = connection.exec_driver_sql("SELECT health_score, band, p_churn, arr_at_risk FROM scores").one()
    assert tuple(row) == (71, "neutral", 0.125, 3100.25)


def test_where_the_health_score_serves_the_predictions_are_null(store, write, record):
    bare = record() | {"predictions": None, "curve": None, "arr_at_risk": None, "reasons": None, "play": None}
    write(store, [bare])
    [score] = store.scores("a1")
    assert [score.record[name] for name in ("predictions", "curve", "arr_at_risk", "reasons", "play")] == [None] * 5


def test_history_holds_no_name_and_no_sentence(store, write, record):
    write(store, [record("acme")])
    with store._database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM scores").all()
    stored = str(rows).lower()
    assert "churn 3" in stored
    assert not [word for word in ("acme", "sanna", "maija", "logging in", "silent") if word in stored]


@pytest.mark.parametrize("place", ["record", "driver", "play"])
def test_a_field_that_is_not_declared_is_refused(store, record, place):
    wrong = record()
    {"record": wrong, "driver": wrong["reasons"]["drivers"][1], "play": wrong["play"]}[place]["phone"] = "040"
    store.save_accounts([Identity("a1")])
    run = store.begin_run("score", MARCH, {})
    with pytest.raises(ValueError, match=r"account 'a1': field phone is not declared.*kept.*or left out"):
        store.append_scores(run.run_id, [wrong])


def test_what_json_cannot_hold_is_refused_and_numpy_is_not(store, write, record):
    store.save_accounts([Identity("a1")])
    run = store.begin_run("score", MARCH, {})
    wrong = record()
    wrong["predictions"][1]["low"] = float("nan")
    with pytest.raises(ValueError, match=r"account 'a1': predictions\.1\.low is nan, .*null"):
        store.append_scores(run.run_id, [wrong])
    with pytest.raises(ValueError, match=r"account 'a1': health\.score is nan"):
        store.append_scores(run.run_id, [record(score=float("nan"))])
    with pytest.raises(ValueError, match="account 'a1': arr is <object"):
        store.append_scores(run.run_id, [record() | {"arr": object()}])
    with pytest.raises(ValueError, match=r"account 'a1'.*no as_of"):
        store.append_scores(run.run_id, [record() | {"as_of": None}])
    store.append_scores(run.run_id, [record() | {"as_of": pd.Timestamp(MARCH), "arr": np.int64(5)}])
    store.finish_run(run.run_id)
    assert store.scores("a1")[0].record["arr"] == 5


def test_instants_are_utc_whatever_zone_they_are_given_in(store, write, record):
    write(store, [record(as_of="2026-03-01T02:00:00+02:00")])
    assert [score.as_of for score in store.scores("a1", as_of="2026-03-01Z")] == [MARCH]
    assert store.scores("a1", as_of="2026-03-01T01:59:59+02:00") == []
    assert store.scores("a1")[0].record["as_of"] == "2026-03-01T00:00:00"


@pytest.mark.parametrize("wrong", ["soon", pd.NaT, 5])
def test_what_is_no_instant_is_refused(wrong):
    with pytest.raises(ValueError, match="is no instant; give a datetime"):
        utc(wrong)


def test_as_of_and_known_at_pick_the_score_that_stands(store, write, record):
    def scores(**when):
        return [score.record["health"]["score"] for score in store.scores("a1", **when)]

    first = write(store, [record(as_of="2026-01-01", score=10), record(as_of="2026-02-01", score=20)])
    again = write(store, [record(as_of="2026-01-01", score=11)])
    assert scores() == [10, 11, 20]
    assert scores(as_of="2025-12-31") == []
    assert scores(as_of="2026-01-31") == [11]
    assert scores(as_of="2026-02-01") == scores(as_of="2027-01-01") == [20]
    assert scores(as_of="2026-01-31", known_at=first.finished_at) == [10]
    assert scores(as_of="2026-01-31", known_at=again.finished_at) == [11]
    assert scores(known_at=first.finished_at) == scores(known_at=again.finished_at) == [20]
    assert scores(known_at=first.finished_at - timedelta(microseconds=1)) == []


def test_latest_scores_and_previous_over_all_accounts(store, write, record):
    write(store, [record("a2", "2026-01-01", 20), record("a1", "2026-01-01", 10), record("a1", "2026-02-01", 12)])
    write(store, [record("a2", "2026-02-01", 25), record("a3", "2026-02-15", 30)])

    def latest(*when):
        return [(score.record["account_id"], score.record["health"]["score"]) for score in store.latest_scores(*when)]

    assert latest() == [("a1", 12), ("a2", 25), ("a3", 30)]
    assert latest("2026-02-01") == [("a1", 12), ("a2", 25)]
    assert latest("2026-01-31") == [("a1", 10), ("a2", 20)]
    january = datetime(2026, 1, 1)
    assert store.previous("2026-01-30") == {
        "a1": HealthPoint(january, 10, "neutral"),
        "a2": HealthPoint(january, 20, "neutral"),
    }
    assert store.previous("2026-02-01", "a2") == {"a2": HealthPoint(datetime(2026, 2, 1), 25, "neutral")}
    assert store.previous("2026-02-14", "a3") == store.previous("2026-02-14", "nobody") == {}


def test_an_unfinished_run_is_not_seen_and_can_be_taken_up_again(store, write, record):
    write(store, [record(score=10)])
    run = store.begin_run("score", MARCH, {"model": "churn 3"}, run_id="night")
    assert store.append_scores("night", [record(score=99), record(as_of="2026-03-02", score=98)]) == 2
    assert [score.record["health"]["score"] for score in store.scores("a1")] == [10]
    assert [score.record["health"]["score"] for score in store.latest_scores()] == [10]
    assert store.previous("2026-03-02")["a1"].score == 10

    assert store.begin_run("score", MARCH, {"model": "churn 3"}, run_id="night") == run
    assert store.append_scores("night", [record(score=99), record(as_of="2026-03-03", score=97)]) == 1
    finished = store.finish_run("night", {"skipped": 3})
    assert finished.counts == {"scores": 3, "decisions": 0, "skipped": 3}
    assert [score.record["health"]["score"] for score in store.latest_scores()] == [97]


def test_the_same_run_again_changes_nothing(store, write, record):
    finished = write(store, [record()], run_id="night")
    before = store.scores("a1")
    assert write(store, [record()], run_id="night") == finished == store.run("night")
    assert store.scores("a1") == before
    with pytest.raises(StoreError, match=r"run 'night' is finished and takes none of the 1 new scores.*new run"):
        store.append_scores("night", [record(as_of="2026-04-01")])


def test_a_run_id_belongs_to_one_run(store):
    store.begin_run("score", MARCH, {"model": "churn 3"}, run_id="night")
    with pytest.raises(StoreError, match=r"run 'night' was begun with versions \{'model': 'churn 3'\}, not .*churn 4"):
        store.begin_run("score", MARCH, {"model": "churn 4"}, run_id="night")
    with pytest.raises(StoreError, match=r"there is no run 'day'.*begin_run"):
        store.finish_run("day")


def test_appending_is_all_or_nothing(store, record):
    store.save_accounts([Identity("a1")])
    run = store.begin_run("score", MARCH, {})
    with pytest.raises(StoreError, match=r"2 accounts are not in the store: 'b1', 'b2'.*save_accounts"):
        store.append_scores(run.run_id, [record("a1"), record("b1"), record("b2")])
    with pytest.raises(ValueError, match="account 'a1' at 2026-03-01 00:00:00 is given twice"):
        store.append_scores(run.run_id, [record("a1"), record("a1")])
    assert store.finish_run(run.run_id).counts["scores"] == 0


def test_identities_change_without_touching_history_and_can_be_erased(new_url, write, record):
    url = new_url()
    with Store.open(url) as store:
        assert store.save_accounts([Identity("a1", "Acme", "Maija")]) == 1
        write(store, [record("a1"), record("b1")])
        assert store.save_accounts([Identity("a1", "Acme Zebra", "Pekka")]) == 0
        assert [store.scores("a1")[0].record[name] for name in ("name", "csm")] == ["Acme Zebra", "Pekka"]

        store.forget_account("a1")
        for question in (store.scores, store.decisions, store.forget_account):
            with pytest.raises(UnknownAccountError, match="account 'a1' is not in the store"):
                question("a1")
        assert [score.record["account_id"] for score in store.latest_scores()] == ["b1"]
        assert list(store.previous("2026-03-01")) == ["b1"]
        assert store.save_accounts([Identity("a1")]) == 1
        assert store.scores("a1") == []
        with store._database.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM scores").scalar_one() == 2
    if url.startswith("sqlite"):
        with open(url.removeprefix("sqlite:///"), "rb") as file:  # noqa: PTH123
            content = file.read()
        assert b"B1 Oy" in content
        assert b"Acme" not in content


@dataclass(frozen=True)
class Made:
    as_of: datetime
    finished_at: datetime
    score: int


def _expected(made: list[Made], as_of: datetime, known_at: datetime) -> list[int]:
    seen = [row for row in made if row.as_of <= as_of and row.finished_at <= known_at]
    return [max(seen, key=lambda row: (row.as_of, row.finished_at)).score] if seen else []


@pytest.fixture(scope="module")
def shared_store(new_url):
    with Store.open(new_url()) as opened:
        yield opened


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=4))
def test_law_what_stood_then_never_changes(shared_store, record, write, runs):
    account = f"law-{time.monotonic_ns()}"
    days = [MARCH + timedelta(days=day) for day in range(-1, 5)]
    made: list[Made] = []
    answers: dict[tuple[datetime, datetime], list[int]] = {}

    def ask(as_of, known_at):
        return [row.record["health"]["score"] for row in shared_store.scores(account, as_of=as_of, known_at=known_at)]

    shared_store.save_accounts([Identity(account)])
    for number, offsets in enumerate(runs):
        records = [record(account, (MARCH + timedelta(days=day)).isoformat(), number * 10 + day) for day in offsets]
        run = shared_store.begin_run("score", MARCH, {})
        shared_store.append_scores(run.run_id, records)
        finished = shared_store.finish_run(run.run_id).finished_at
        made += [Made(datetime.fromisoformat(row["as_of"]), finished, row["health"]["score"]) for row in records]
        answers |= {(day, finished): ask(day, finished) for day in days}
    for (as_of, known_at), then in answers.items():
        assert ask(as_of, known_at) == then == _expected(made, as_of, known_at)
    newest = max(known_at for _, known_at in answers)
    assert [ask(day, None) for day in days] == [answers[day, newest] for day in days]


def test_runs_finish_in_order_even_when_the_clock_is_set_back(store):
    ahead = datetime(2999, 1, 1)
    with store._database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO runs (run_id, kind, as_of, started_at, finished_at, versions, counts) VALUES "
            f"('ahead', 'score', '{MARCH}.000000', '{ahead}.000000', '{ahead}.000000', '{{}}', '{{}}')"
        )
    run = store.begin_run("score", MARCH, {})
    assert store.finish_run(run.run_id).finished_at == ahead + timedelta(microseconds=1)


def test_ten_thousand_scores_are_appended_within_five_seconds_of_work(store, record):
    records = [record(f"a{number:05}") for number in range(10_000)]
    store.save_accounts(Identity(row["account_id"], row["name"], row["csm"]) for row in records)
    run = store.begin_run("score", MARCH, {})
    started = time.process_time()  # and not the wall clock: other tests share the machine
    assert store.append_scores(run.run_id, records) == 10_000
    assert time.process_time() - started < 5
    store.finish_run(run.run_id)
    assert len(store.latest_scores()) == 10_000
