"""Opening: by path or URL, by several processes, and everything that can be wrong with a database."""

import multiprocessing
import sqlite3
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from serving.store import Identity, Store, StoreError

PROCESSES = 3


def test_a_path_makes_a_file_that_readers_and_a_writer_share(tmp_path):
    path = tmp_path / "store åäö 100%.db"
    with Store.open(path) as store, store._database.reading() as connection:
        pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "foreign_keys")}
        assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}
        with store._database.writing() as writer:
            writer.exec_driver_sql("DELETE FROM accounts")
            assert store.latest_scores() == []
    assert path.is_file()
    with Store.open(str(path)) as store:
        assert store.save_accounts([Identity("a1")]) == 1


def test_a_store_in_memory_is_named_so():
    with Store.open("sqlite://") as store, pytest.raises(StoreError, match=r"no run 'x' \(in memory\)"):
        store.run("x")


def test_opening_again_keeps_what_is_there(new_url, write, record):
    url = new_url()
    with Store.open(url) as store:
        write(store, [record()])
    for _ in range(2):
        with Store.open(url) as store:
            assert len(store.scores("a1")) == 1


def _open_together(url, barrier, failures):
    barrier.wait()
    try:
        with Store.open(url) as store:
            store.save_accounts([Identity("shared")])
            run = store.begin_run("score", datetime(2026, 3, 1), {})
            store.append_scores(run.run_id, [{"account_id": "shared", "as_of": "2026-03-01"}])
            store.finish_run(run.run_id)
    except Exception as error:
        failures.put(repr(error))


def test_processes_may_open_a_new_database_at_once(new_url):
    url, spawn = new_url(), multiprocessing.get_context("spawn")
    barrier, failures = spawn.Barrier(PROCESSES), spawn.SimpleQueue()
    processes = [spawn.Process(target=_open_together, args=(url, barrier, failures)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    told = []
    while not failures.empty():
        told.append(failures.get())
    assert told == []
    with Store.open(url) as store:
        assert len(store.scores("shared")) == PROCESSES
        assert len({score.known_at for score in store.scores("shared")}) == PROCESSES


def test_a_crash_while_migrating_leaves_nothing(new_url):
    url = new_url()

    def tables():
        with Store.open(url) as store, store._database.reading() as connection:
            return set(inspect(connection).get_table_names())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alembic.op.create_index", _crash)
        with pytest.raises(KeyboardInterrupt):
            Store.open(url)
    assert {"accounts", "runs", "scores", "decisions"} < tables()


def _crash(*_, **__):
    raise KeyboardInterrupt


def test_a_newer_database_is_refused(new_url):
    url = new_url()
    with Store.open(url) as store, store._database.writing() as connection:
        connection.execute(text("UPDATE kunto_schema_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"newer Kunto: its schema is '9999', this version knows up to '\d{4}'.*Install"):
        Store.open(url)


def test_a_database_with_foreign_tables_is_left_alone(new_url):
    url = new_url()
    with Store.open(url) as store, store._database.writing() as connection:
        connection.execute(text("DROP TABLE kunto_schema_version"))
    with pytest.raises(StoreError, match=r"holds a table accounts, .*decisions, .*runs, .*scores.* that Kunto did not make"):
        Store.open(url)


def test_a_locked_database_says_so(new_url):
    url = new_url()
    with Store.open(url) as holder, Store.open(url, timeout_s=0.1) as store, holder._database.writing():
        assert store.latest_scores() == []
        with pytest.raises(StoreError, match=r"is locked by another process \(.*\)\. Wait"):
            store.save_accounts([Identity("a1")])
        with Store.open(url, timeout_s=0.1) as third:
            assert third.latest_scores() == []


def test_a_file_locked_by_another_program_says_so(tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="the database is locked"):
            Store.open(tmp_path / "x.db", timeout_s=0.1)


def test_a_file_locked_for_a_moment_is_waited_for(tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.db", check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.rollback)
        release.start()
        with Store.open(tmp_path / "x.db", timeout_s=30) as store:
            assert store.latest_scores() == []
        release.join()


def test_a_read_only_file_is_read_but_not_written(tmp_path, write, record):
    with Store.open(tmp_path / "x.db") as store:
        write(store, [record()])
        with Store.open(f"sqlite:///file:{tmp_path}/x.db?mode=ro&uri=true") as reader:
            assert len(reader.scores("a1")) == 1
            with pytest.raises(StoreError, match=r"the database is read-only.*permission"):
                reader.save_accounts([Identity("b1")])


def test_a_read_only_file_that_needs_migrating_is_refused(tmp_path):
    sqlite3.connect(tmp_path / "x.db").close()
    with pytest.raises(StoreError, match="the database is read-only"):
        Store.open(f"sqlite:///file:{tmp_path}/x.db?mode=ro&uri=true")


@pytest.mark.postgres
def test_a_postgres_user_without_rights_is_told(postgres):
    with pytest.raises(StoreError, match="the database is read-only"):
        Store.open(f"{postgres}/postgres?options=-c%20default_transaction_read_only%3Don")


@pytest.mark.postgres
def test_a_missing_postgres_database_is_told(postgres):
    with pytest.raises(StoreError, match=r'cannot be reached: .*database "nowhere" does not exist.*Check') as caught:
        Store.open(f"{postgres.replace('kunto@', 'kunto:hunter2@')}/nowhere")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{folder}", "the database file cannot be opened"),
        ("{folder}/missing/x.db", "the database file cannot be opened .*missing/x.db.*folder"),
        ("{folder}/text.db", "is not an SQLite database"),
        ("postgresql://u:hunter2@127.0.0.1:1/x?password=hunter2", r"cannot be reached: .*127\.0\.0\.1.*Check that the server"),
        ("postgresql+nodriver://u:hunter2@host/x", "the database URL cannot be used"),
        ("mysql://u:hunter2@host/x", "knows no 'mysql' databases, only SQLite and PostgreSQL"),
        ("postgresql://u:hunter2@host:port/x", r"cannot be read \(postgresql://\*\*\*@host:port/x\)"),
        ("://", "cannot be read"),
        ("sqlite:////{folder}/x.db?timeout=long", "the database URL cannot be used"),
    ],
)
def test_a_wrong_target_is_told_without_its_password(tmp_path, target, message):
    Path(tmp_path, "text.db").write_text("account_id,name\n" * 100)
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(target.format(folder=tmp_path), timeout_s=0.1)
    assert "hunter2" not in str(caught.value)
