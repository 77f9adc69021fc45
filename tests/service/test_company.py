"""The company's tables on demand: an event is among them from the instant at which it came in, and no score before sees it."""

import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pytest
from small_company import CONFIG

from features.builder import build
from features.contract import IBIS_TYPES, TABLES
from features.loader import load
from features.mapping import read_mapping
from features.visible import prepare, visible
from serving.champions import Champions
from serving.company import CompanyError, CompanyTables, with_events
from serving.events import read
from serving.scoring import ScoringSettings, score
from serving.store import Store
from serving.store.intake import Intake

#: Everything in the small company has happened by then.
T0 = datetime(2026, 2, 1)
HOUR = timedelta(hours=1)
TICKETS = ("ticket_id,account_id,opened_at,resolved_at", "T1,a,2026-01-20,", "T2,b,2026-01-21,2026-01-22")


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrive(store: Store, clock: Clock) -> Callable[..., None]:
    """A function that lets one event come in at an instant."""
    store.intake = Intake(store._database, clock)
    numbers = itertools.count()

    def one(at: datetime, table: str, **columns: Any) -> None:
        clock.now = at
        event = {"event_id": f"e{next(numbers)}", "table": table, "account_id": "a"} | columns
        taken = store.intake.add([read(json.dumps(event).encode(), at + HOUR)])
        assert taken.outcomes == ["accepted"]

    return one


@pytest.fixture
def opened(csv: Callable[..., Path], store: Store) -> Callable[..., CompanyTables]:
    """A function that opens the small company, some of its tables replaced."""

    def make(config: str = CONFIG, **tables: Any) -> CompanyTables:
        path = csv(config, **tables)
        return CompanyTables(read_mapping(path / "kunto.toml"), path, store)

    return make


def usage(at: datetime, **columns: Any) -> dict[str, Any]:
    return {"feature": "login", "occurred_at": at.isoformat()} | columns


def features(company: CompanyTables, as_of: datetime, account: str = "a") -> Mapping[str, Any]:
    """The account's features at an instant, from the tables as of that instant."""
    with company.tables(as_of) as tables:
        return build(tables, pd.DataFrame({"account_id": [account], "as_of": [as_of]})).iloc[0].to_dict()


def seen(company: CompanyTables, table: str, as_of: datetime, account: str = "a") -> pd.DataFrame:
    """What a feature of the account at that instant may read of a table."""
    spine = pd.DataFrame({"spine_id": [0], "account_id": [account], "as_of": [int(pd.Timestamp(as_of).value // 1000)]})
    with company.tables(as_of) as tables:
        return visible(table, prepare(table, tables[table]), ibis.memtable(spine)).execute()


def resolved(company: CompanyTables, as_of: datetime) -> dict[str, bool]:
    """Whether each ticket of account a is resolved at an instant."""
    return {row.ticket_id: not pd.isna(row.resolved_at) for row in seen(company, "tickets", as_of).itertuples()}


def rows(company: CompanyTables, table: str, as_of: datetime | None = None) -> pd.DataFrame:
    with company.tables(as_of) as tables:
        return tables[table].execute()


# --- point in time --------------------------------------------------------------------------------------------------------------


def test_a_score_on_demand_sees_an_event_that_came_in_a_moment_before_and_an_earlier_one_does_not(
    opened: Any, arrive: Any
) -> None:
    company = opened()
    assert len(seen(company, "usage", T0 + HOUR)) == 1
    arrive(T0 + HOUR, "usage", **usage(T0))
    tick = timedelta(microseconds=1)
    assert len(seen(company, "usage", T0 + HOUR + tick)) == 2
    assert len(seen(company, "usage", T0 + HOUR)) == 1  # it came in at T, and T sees what came before


def test_the_whole_scored_account_is_computed_with_it(opened: Any, arrive: Any) -> None:
    company = opened()

    def scored(as_of: datetime) -> dict[str, Any]:
        with company.tables(as_of) as tables:
            records = score(tables, pd.Timestamp(as_of), Champions({}, None), ScoringSettings(), versions={}).records
        return next(record for record in records if record["account_id"] == "a")

    before = scored(T0 + 2 * HOUR)
    for k in range(3):
        arrive(T0 + 2 * HOUR, "tickets", ticket_id=f"T{k}", opened_at=T0.isoformat(), escalated_at=T0.isoformat())
    after = scored(T0 + 3 * HOUR)
    assert before["health"]["components"]["support"] is None
    assert after["health"]["components"]["support"] is not None
    assert {**scored(T0 + 2 * HOUR)} == before


def test_nothing_that_came_in_at_t_or_later_changes_any_feature_at_t(opened: Any, arrive: Any) -> None:
    company, at = opened(tickets=TICKETS), T0 + HOUR
    arrive(T0, "usage", **usage(T0 - HOUR))
    before = features(company, at)
    arrive(at, "usage", **usage(T0, user_id="u1", users=3, value=1.5, quantity=9))
    arrive(at, "tickets", ticket_id="T1", opened_at="2026-01-20T00:00:00Z", priority="high", sentiment=-1)
    arrive(at + HOUR, "surveys", kind="nps", sent_at=T0.isoformat(), responded_at=T0.isoformat(), score=0)
    arrive(at + HOUR, "touchpoints", kind="call", occurred_at=T0.isoformat(), direction="in")
    assert pd.Series(features(company, at)).equals(pd.Series(before))
    later = features(company, at + 2 * HOUR)
    assert later["events_30d"] == before["events_30d"] + 9 == 11
    assert {name for name, value in later.items() if not pd.isna(value)} > {
        name for name, value in before.items() if not pd.isna(value)
    }


def test_a_changed_row_comes_as_a_new_version_and_holds_from_then_on(opened: Any, arrive: Any) -> None:
    company = opened(tickets=TICKETS)
    ticket = {"ticket_id": "T9", "opened_at": "2026-01-31T00:00:00"}
    arrive(T0 + HOUR, "tickets", **ticket)
    arrive(T0 + 3 * HOUR, "tickets", **ticket, resolved_at="2026-02-01T02:00:00")
    # of the source's own ticket too, which has no recorded_at
    arrive(T0 + 5 * HOUR, "tickets", ticket_id="T1", opened_at="2026-01-20T00:00:00", resolved_at="2026-02-01T04:00:00")
    assert [resolved(company, T0 + k * HOUR) for k in (1, 2, 4, 6)] == [
        {"T1": False},
        {"T1": False, "T9": False},
        {"T1": False, "T9": True},
        {"T1": True, "T9": True},
    ]


def test_of_versions_that_came_in_one_delivery_the_last_one_holds(opened: Any, store: Store, clock: Clock, arrive: Any) -> None:
    company = opened(tickets=TICKETS)
    clock.now = T0 + HOUR
    ticket = {"table": "tickets", "account_id": "a", "ticket_id": "T9", "opened_at": "2026-01-31T00:00:00"}
    open_, done = ticket, {**ticket, "resolved_at": "2026-02-01T00:30:00"}
    for name, versions in {"x": [open_, done], "y": [open_, done, open_], "z": [done, open_, done]}.items():
        events = [{"event_id": f"{name}{k}", **version} for k, version in enumerate(versions)]
        store.intake.add([read(json.dumps(event).encode(), T0 + 2 * HOUR) for event in events])
        assert resolved(company, T0 + 2 * HOUR)["T9"] == ("resolved_at" in versions[-1])


# --- tables and columns ---------------------------------------------------------------------------------------------------------


def test_a_table_that_the_source_lacks_is_connected_once_an_event_brings_it(opened: Any, arrive: Any) -> None:
    company = opened()
    arrive(T0 + HOUR, "surveys", kind="nps", sent_at=T0.isoformat(), score=9, responded_at=T0.isoformat(), contact_id="c1")
    with company.tables(T0 + HOUR) as tables:
        assert "surveys" not in tables
    with company.tables() as tables:
        columns = tables["surveys"].columns
        assert columns == ("account_id", "kind", "sent_at", "responded_at", "score", "contact_id", "recorded_at")
        assert {name: str(kind) for name, kind in tables["surveys"].schema().items()} == {
            name: IBIS_TYPES[TABLES["surveys"].column(name).kind].replace(" ", "").replace("24,6", "24, 6") for name in columns
        }


def test_rows_of_a_source_without_recorded_at_count_as_recorded_when_they_happened(opened: Any, arrive: Any) -> None:
    company = opened()
    arrive(T0 + HOUR, "usage", **usage(T0), account_id="b")
    found = rows(company, "usage").sort_values("occurred_at")
    assert found["recorded_at"].tolist()[:2] == [pd.NaT, pd.NaT]
    assert found["recorded_at"].tolist()[2] == pd.Timestamp(T0 + HOUR)
    assert len(seen(company, "usage", datetime(2026, 1, 3))) == 1


def test_an_event_that_the_source_brings_later_too_counts_once_by_its_event_id(opened: Any, arrive: Any) -> None:
    company = opened(usage=("account_id,feature,occurred_at,event_id", "a,login,2026-01-31 10:00:00,x1"))
    arrive(T0, "usage", **usage(datetime(2026, 1, 31, 10)), event_id="x1")
    assert len(rows(company, "usage")) == 2
    assert len(seen(company, "usage", T0 + HOUR)) == 1


def test_events_are_merged_into_a_loaded_source_as_the_service_merges_them(csv: Any, store: Store, arrive: Any) -> None:
    path = csv()
    arrive(T0 + HOUR, "usage", **usage(T0, value="0.1"))
    mapping = read_mapping(path / "kunto.toml")
    source = load(mapping, base=path)
    with CompanyTables(mapping, path, store).tables() as tables:
        ours = {name: table.execute() for name, table in with_events(source.tables, store).items()}
        assert ours.keys() == tables.keys()
        for name, frame in ours.items():
            pd.testing.assert_frame_equal(frame, tables[name].execute())
    assert with_events(source.tables, store, T0)["usage"].columns == source.tables["usage"].columns


def test_what_was_erased_is_gone_from_the_tables(opened: Any, store: Store, arrive: Any) -> None:
    company = opened()
    arrive(T0, "usage", **usage(T0, user_id="sanna"))
    arrive(T0, "usage", **usage(T0, user_id="olli"), account_id="b")
    assert set(rows(company, "usage")["user_id"].dropna()) == {"sanna", "olli"}
    store.intake.forget_person("sanna")
    assert "sanna" not in rows(company, "usage")["user_id"].tolist()
    assert len(rows(company, "usage")) == 4
    store.intake.forget_account("b")
    arrive(T0, "usage", **usage(T0, user_id="new"))  # takes the number of the deleted one on SQLite
    assert sorted(rows(company, "usage")["account_id"]) == ["a", "a", "a", "b"]


# --- the source -----------------------------------------------------------------------------------------------------------------


def touch(path: Path, text: str) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_changed_file_is_loaded_again_and_an_unchanged_one_is_not(csv: Any, store: Store, monkeypatch: Any) -> None:
    path, loads = csv(), []
    monkeypatch.setattr("serving.company.load", lambda *given, **named: loads.append(1) or load(*given, **named))
    company = CompanyTables(read_mapping(path / "kunto.toml"), path, store)
    assert len(rows(company, "usage")) == 2
    assert len(rows(company, "usage")) == 2
    assert len(loads) == 1
    before = company.fingerprint
    touch(path / "tables" / "usage.csv", "account_id,feature,occurred_at\na,login,2026-01-05\n")
    assert len(rows(company, "usage")) == 1
    touch(path / "tables" / "tickets.csv", "\n".join(TICKETS) + "\n")
    assert len(rows(company, "tickets")) == 2
    assert len(loads) == 3
    assert company.fingerprint != before


def test_a_changed_configuration_is_read_again(opened: Any, csv: Any) -> None:
    company = opened()
    assert company.data_until == T0
    touch(company._base / "kunto.toml", CONFIG.replace("2026-02-01", "2026-01-03"))
    assert company.data_until == datetime(2026, 1, 3)
    assert len(rows(company, "usage")) == 1
    touch(company._base / "kunto.toml", "[data\n")
    assert company.data_until == datetime(2026, 1, 3)
    assert company.problem is not None
    assert "is not TOML" in company.problem


def test_a_source_that_has_become_unusable_leaves_the_last_one_serving(opened: Any) -> None:
    company = opened()
    accounts = company._base / "tables" / "accounts.csv"
    good = accounts.read_text()
    assert len(rows(company, "accounts")) == 2
    touch(accounts, "")
    assert len(rows(company, "accounts")) == 2
    assert company.problem is not None
    assert "accounts: empty_file" in company.problem
    touch(accounts, good + "c,Cygnus,2025-01-01\n")
    assert len(rows(company, "accounts")) == 3
    assert company.problem is None


def test_a_source_that_never_was_usable_is_an_error_that_names_the_fault(opened: Any) -> None:
    company = opened(accounts=b"")
    with pytest.raises(CompanyError, match="accounts: empty_file"), company.tables():
        pass
    touch(company._base / "tables" / "accounts.csv", "account_id\na\nb\n")
    assert len(rows(company, "accounts")) == 2


def test_a_source_in_a_database_file_is_loaded_again_when_it_changes(csv: Any, store: Store) -> None:
    path = csv(CONFIG.replace('"tables"', '"sqlite:///crm.db"'))
    with sqlite3.connect(path / "crm.db") as crm:
        crm.execute("create table accounts as select 'a' as account_id")
        crm.execute("create table subscriptions as select 'a' as account_id, '2025-01-01' as started_at")
    company = CompanyTables(read_mapping(path / "kunto.toml"), path, store)
    assert len(rows(company, "accounts")) == 1
    with sqlite3.connect(path / "crm.db") as more:
        more.execute("insert into accounts values ('b')")
    os.utime(path / "crm.db", ns=(10**18 * 2, 10**18 * 2))
    assert len(rows(company, "accounts")) == 2
    crm.close()
    more.close()


def test_the_age_of_the_data_is_that_of_the_newest_news(opened: Any, arrive: Any) -> None:
    company = opened()
    assert company.data_age(T0 + HOUR) == 3600
    assert company.data_age(T0 - HOUR) == 0
    before = company.fingerprint
    arrive(T0 + HOUR, "usage", **usage(T0))
    assert company.data_age(T0 + 3 * HOUR) == 7200
    assert company.fingerprint != before


def test_threads_take_the_tables_in_turn(opened: Any, arrive: Any) -> None:
    company = opened()
    arrive(T0 - HOUR, "usage", **usage(T0 - HOUR))
    failures: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for turn in range(3):
                if k == 0:
                    arrive(T0 + turn * HOUR, "usage", **usage(T0))
                assert len(seen(company, "usage", T0)) == 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
