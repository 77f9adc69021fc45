"""Contacts, feedback, manual scores and free text: what stays, what can be erased, and that nothing is rewritten."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import text

from serving.principal import Principal
from serving.store import Identity, StoreError, UnknownAccountError
from serving.store.authors import Author
from serving.store.errors import UnknownRecordError
from serving.store.play_records import StepDone

MARCH = datetime(2026, 3, 1)
MAIJA = Principal("user", "u1", "Maija Meikäläinen", frozenset({"feedback:write"}), "csm", "Maija Meikäläinen")
ANNA = {"contact_id": "anna@acme.example", "role": "decision_maker"}
BO = {"contact_id": "bo@acme.example", "role": "admin"}
SECRET = "Anna Virtanen is furious"


@pytest.fixture
def known(store, write, record):
    """A store with one finished run, night, over a1 and a2."""
    write(store, [record("a1"), record("a2")], run_id="night")
    return store


def everything(store) -> str:
    """Every row of every table, as one text."""
    with store._database.reading() as connection:
        if connection.dialect.name == "sqlite":
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        else:
            tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        names = connection.exec_driver_sql(tables).scalars().all()
        return repr([connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names])


# Contacts


def test_contacts_are_replaced_as_a_whole_in_the_order_given(known):
    assert known.contacts.replace({"a1": [BO, ANNA], "a2": [ANNA]}) == 3
    assert known.contacts.of("a1") == [BO, ANNA]
    assert known.contacts.replace({"a1": [ANNA]}) == 1
    assert known.contacts.of_all() == {"a1": [ANNA], "a2": [ANNA]}
    assert known.contacts.of_all(["a2", "unknown"]) == {"a2": [ANNA]}
    known.contacts.replace({"a1": []})
    assert known.contacts.of("a1") == []
    with pytest.raises(UnknownAccountError):
        known.contacts.of("unknown")


def test_contacts_of_one_unknown_account_change_nothing(known):
    known.contacts.replace({"a1": [ANNA]})
    with pytest.raises(StoreError, match="1 account is not in the store: 'unknown'"):
        known.contacts.replace({"a1": [BO], "unknown": [BO]})
    with pytest.raises(ValueError, match="'a1' has a contact twice"):
        known.contacts.replace({"a1": [BO, BO]})
    assert known.contacts.of_all() == {"a1": [ANNA]}


def test_a_contact_is_forgotten_everywhere_with_a_receipt(known):
    known.contacts.replace({"a1": [ANNA, BO], "a2": [ANNA]})
    assert known.contacts.forget_contact(ANNA["contact_id"]) == 2
    assert known.contacts.forget_contact(ANNA["contact_id"]) == 0
    assert known.contacts.of_all() == {"a1": [BO]}
    assert ANNA["contact_id"] not in everything(known)


# Feedback


def test_feedback_speaks_of_the_score_that_stands_or_of_the_one_named(known, record):
    known.begin_run("score", "2026-04-01", {}, run_id="later")
    known.append_scores("later", [record("a1", "2026-04-01T00:00:00")])
    known.finish_run("later")
    given = [
        known.feedback.give("a1", "useful", MAIJA, at="2026-04-02"),
        known.feedback.give("a1", "wrong", MAIJA, driver="silence", run_id="night", text="  They called ", at="2026-04-03"),
        known.feedback.give("a1", "known", Author("key", "k1"), as_of="2026-03-31", text=" ", at="2026-04-03"),
    ]
    assert known.feedback.of("a1") == given[::-1]
    assert [(each.run_id, each.as_of) for each in given] == [("later", datetime(2026, 4, 1)), ("night", MARCH), ("night", MARCH)]
    assert [each.text for each in given] == [None, "They called", None]
    assert given[1].by == Author("user", "u1")
    assert known.feedback.of("a2") == []


def test_what_feedback_cannot_say_is_refused(known):
    known.save_accounts([Identity("new")])
    refused = [
        (ValueError, "verdict 'liked' is not known; allowed: useful, known, wrong", ("a1", "liked"), {}),
        (ValueError, "driver 'weather' is not known; allowed: usage_decline", ("a1", "known"), {"driver": "weather"}),
        (ValueError, "the text holds a NUL character at 1", ("a1", "known"), {"text": "a\0b"}),
        (UnknownAccountError, "account 'unknown' is not in the store", ("unknown", "known"), {}),
        (UnknownAccountError, "not in the store", ("a\0", "known"), {}),
        (UnknownRecordError, "account 'new' has no score ", ("new", "known"), {}),
        (UnknownRecordError, "account 'a1' has no score in run 'day' ", ("a1", "known"), {"run_id": "day"}),
        (UnknownRecordError, "no score up to 2026-02-28T00:00:00", ("a1", "known"), {"as_of": "2026-02-28"}),
    ]
    for kind, message, arguments, options in refused:
        with pytest.raises(kind, match=message):
            known.feedback.give(*arguments, MAIJA, **options)
    assert known.feedback.of("a1") == []


# Manual scores


def test_a_manual_score_holds_from_when_it_was_given_until_it_expires(known):
    give, asked = known.feedback.set_manual_score, known.feedback.manual_score
    first = give("a1", 20, SECRET, "2026-06-01T02:00:00+02:00", MAIJA, at=MARCH)
    assert (first.expires_at, first.by, first.reason) == (datetime(2026, 6, 1), Author("user", "u1"), SECRET)
    assert [asked("a1", at) for at in ("2026-02-28", MARCH, "2026-05-31T23:59:59", "2026-06-01")] == [None, first, first, None]
    second = give("a1", 100, "Renewed", "2026-04-15", MAIJA, at="2026-04-01")
    assert [asked("a1", at) for at in ("2026-03-31", "2026-04-01")] == [first, second]
    assert asked("a1", "2026-05-01") is None, "the later word ended the earlier one"
    assert asked("a2", "2026-04-01") is None


@pytest.mark.parametrize("score", [-1, 101, 50.0, True, None])
def test_a_manual_score_is_an_integer_of_0_to_100(known, score):
    with pytest.raises(ValueError, match="give an integer from 0 to 100"):
        known.feedback.set_manual_score("a1", score, "why", "2026-04-01", MAIJA, at=MARCH)


def test_a_manual_score_has_a_reason_and_an_end_within_a_year(known):
    give = known.feedback.set_manual_score
    with pytest.raises(ValueError, match="reason is blank"):
        give("a1", 20, "\n", "2026-04-01", MAIJA, at=MARCH)
    for expires_at in (MARCH, MARCH + timedelta(days=365, microseconds=1), MARCH.replace(tzinfo=UTC) - timedelta(days=1)):
        with pytest.raises(ValueError, match="give an instant after 2026-03-01T00:00:00, at most 365 days later"):
            give("a1", 20, "why", expires_at, MAIJA, at=MARCH)
    assert give("a1", 0, "why", MARCH + timedelta(days=365), MAIJA, at=MARCH).score == 0
    with pytest.raises(UnknownAccountError):
        give("unknown", 20, "why", "2026-04-01", MAIJA, at=MARCH)


# Erasure, and what is never rewritten


@pytest.fixture
def written(known):
    """The same with a row in every table that people write into, the secret in each text about a1."""
    known.begin_run("score", MARCH, {}, run_id="open")
    frame = pd.DataFrame({"account_id": ["a1"], "as_of": [MARCH], "seats": [5.0]})
    known.inputs.append("open", frame, pd.DataFrame({"active": [True]}))
    known.contacts.replace({"a1": [ANNA, BO], "a2": [BO]})
    known.feedback.give("a1", "wrong", MAIJA, text=SECRET)
    known.feedback.give("a2", "wrong", MAIJA, text="Unrelated")
    known.feedback.set_manual_score("a1", 10, SECRET, MARCH + timedelta(days=30), MAIJA, at=MARCH)
    play = known.plays.start("a1", "reach_out_call", MAIJA, text=SECRET)
    known.plays.change(play.play_id, 1, StepDone(1), MAIJA, text=SECRET)
    return known


def test_forgetting_an_account_erases_its_contacts_and_every_text_about_it(written):
    play = written.plays.list("a1")[0]
    assert everything(written).count(SECRET) == 4
    assert written.forget_account("a1") == {"accounts": 1, "contacts": 2, "texts": 4}
    left = everything(written)
    assert SECRET not in left
    assert ANNA["contact_id"] not in left
    assert "Unrelated" in left
    assert (written.contacts.of_all(), written.feedback.of("a2")[0].text) == ({"a2": [BO]}, "Unrelated")
    assert (written.plays.list(), written.plays.running()) == ([], frozenset())
    for question in (written.plays.get, written.plays.log):
        with pytest.raises(UnknownRecordError):
            question(play.play_id)


def test_an_erased_text_leaves_what_refers_to_it(written):
    with written._database.writing() as connection:
        connection.execute(text("UPDATE texts SET text = NULL"))
    assert [(each.verdict, each.text) for each in written.feedback.of("a1")] == [("wrong", None)]
    manual = written.feedback.manual_score("a1", MARCH)
    assert (manual.score, manual.reason) == (10, None)
    [play] = written.plays.list("a1")
    assert [(event.event, event.text) for event in written.plays.log(play.play_id)] == [("started", None), ("step_done", None)]


@pytest.mark.parametrize("table", ["input_columns", "inputs", "feedback", "manual_scores", "play_events"])
def test_what_was_said_or_computed_is_never_rewritten(written, table):
    first = {"input_columns": "digest", "inputs": "run_id"}.get(table, "at")
    statements = [f"UPDATE {table} SET {first} = {first}", f"DELETE FROM {table}"]
    if written._database.is_sqlite:
        statements.append(f"REPLACE INTO {table} SELECT * FROM {table}")
    else:
        statements.append(f"TRUNCATE {table} CASCADE")
    before = everything(written)
    for statement in statements:
        with (
            pytest.raises(StoreError, match=f"the database refused: .*{table} is append-only"),
            written._database.writing() as connection,
        ):
            connection.execute(text(statement))
    assert everything(written) == before
