"""History cannot be rewritten, not even by hand."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import text

from serving.store import Decision, Store, StoreError

MARCH = datetime(2026, 3, 1)
#: REPLACE deletes without saying DELETE; PostgreSQL has TRUNCATE instead.
SHORTCUTS = {
    "sqlite": {
        "scores": "REPLACE INTO scores SELECT score_id, 'open', account_key, as_of, scored_at, 99, band, p_churn, "
        "arr_at_risk, versions, record FROM scores WHERE run_id = 'night'",
        "decisions": "REPLACE INTO decisions SELECT decision_id, 'open', account_key, as_of, decided_at, 'other', "
        "candidates, assignment, probability, seed, known FROM decisions WHERE run_id = 'night'",
    },
    "postgresql": {"scores": "TRUNCATE scores", "decisions": "TRUNCATE decisions"},
}


@pytest.fixture
def filled(store, write, record) -> Iterator[Store]:
    """A store with a finished run, night, and an unfinished one, open; both hold a score and a decision."""
    chosen = Decision("a1", MARCH, MARCH, None, [{"name": None, "value": 0.0}], None, None, None, {"arr": 24000.0})
    write(store, [record()], [chosen], run_id="night")
    store.begin_run("score", MARCH, {}, run_id="open")
    store.append_scores("open", [record()])
    store.append_decisions("open", [chosen])
    return store


def refused(store: Store, statement: str, reason: str) -> None:
    before = (store.scores("a1"), store.decisions("a1"), store.run("night"))
    with pytest.raises(StoreError, match=f"the database refused: .*{reason}"), store._database.writing() as connection:
        connection.execute(text(statement))
    assert (store.scores("a1"), store.decisions("a1"), store.run("night")) == before


@pytest.mark.parametrize("table", ["scores", "decisions"])
@pytest.mark.parametrize("run", ["night", "open"])
def test_rows_are_neither_changed_nor_deleted(filled, table, run):
    refused(filled, f"UPDATE {table} SET as_of = as_of WHERE run_id = '{run}'", f"{table} is append-only")
    refused(filled, f"DELETE FROM {table} WHERE run_id = '{run}'", f"{table} is append-only")


@pytest.mark.parametrize("table", ["scores", "decisions"])
def test_there_is_no_shortcut_past_it(filled, table):
    statement = SHORTCUTS[filled._database.engine.dialect.name][table]
    refused(filled, statement, f"{table} is append-only")


@pytest.mark.parametrize("table", ["scores", "decisions"])
def test_no_row_joins_a_finished_run(filled, table):
    columns = {
        "scores": "run_id, account_key, as_of, scored_at, versions, record",
        "decisions": "run_id, account_key, as_of, decided_at, candidates, known",
    }[table]
    values = columns.replace("run_id", "'night'").replace("as_of", "'2026-04-01 00:00:00.000000'", 1)
    statement = f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE run_id = 'open'"
    if filled._database.engine.dialect.name == "postgresql":
        statement = statement.replace(".000000'", ".000000'::timestamp")
    refused(filled, statement, "a finished run takes no rows")


def test_a_finished_run_is_fixed(filled):
    refused(filled, "UPDATE runs SET finished_at = started_at WHERE run_id = 'night'", "a finished run is fixed")
    refused(filled, "UPDATE runs SET counts = '{}' WHERE run_id = 'night'", "a finished run is fixed")
    refused(filled, "DELETE FROM runs WHERE run_id = 'night'", "a finished run is fixed")


def test_an_account_with_history_cannot_be_deleted_past_its_erasure(filled):
    refused(filled, "DELETE FROM accounts", "(FOREIGN KEY|foreign key)")
