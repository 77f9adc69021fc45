"""Every kind of bad input is refused or counted, by table, row, column and value, whatever it is stored in."""

import json
import os
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from small_company import CONFIG

from features.check import check
from features.findings import Finding, Report
from features.loader import Source, load
from features.mapping import Mapping
from features.recognise import propose
from kunto.workspace import Workspace

Tables = dict[str, list[dict[str, Any]]]
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def company() -> Tables:
    """A company without a fault."""
    return {
        "accounts": [{"account_id": "A", "created_at": "2024-12-20"}, {"account_id": "B", "created_at": "2024-12-20"}],
        "subscriptions": [
            {
                "account_id": "A",
                "subscription_id": "s1",
                "started_at": "2025-01-01",
                "ended_at": None,
                "seats": "5",
                "mrr": "100",
            },
            {"account_id": "B", "subscription_id": "s2", "started_at": "2025-01-01", "ended_at": None, "seats": "2", "mrr": "50"},
        ],
        "usage": [
            {"account_id": "A", "feature": "login", "occurred_at": "2025-02-01 10:00", "event_id": "e1"},
            {"account_id": "B", "feature": "login", "occurred_at": "2025-02-02 10:00", "event_id": "e2"},
        ],
        "tickets": [{"ticket_id": "t1", "account_id": "A", "opened_at": "2025-02-01", "resolved_at": "2025-02-03"}],
    }


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL cluster of the tests' own; skipped where its programs are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    programs = found[-1] if found else Path(shutil.which("initdb") or "").parent
    if not (programs / "initdb").is_file():
        pytest.skip("PostgreSQL's initdb is not installed")
    folder = Path("/tmp") / f"kunto-postgres-{os.getpid()}"
    user = "postgres" if os.geteuid() == 0 else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run([programs / command[0], *command[1:]], check=True, user=user, capture_output=True, cwd="/tmp")

    try:
        run("initdb", "-D", str(folder / "data"), "-U", "kunto", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-o", options, "start")
        yield f"postgresql://kunto@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["csv", "parquet", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Company:
    """Writes tables into a store and checks them."""

    def __init__(self, store: str, folder: Path, url: str | None) -> None:
        self.store, self.folder, self.url = store, folder, url

    def load(self, rows: Tables, **config: Any) -> Source:
        self.folder.mkdir(exist_ok=True)
        frames = {name: pd.DataFrame(table, dtype="str") for name, table in rows.items()}
        source = "."
        if self.store in ("csv", "parquet"):
            for name, frame in frames.items():
                if self.store == "csv":
                    frame.to_csv(self.folder / f"{name}.csv", index=False)
                else:
                    frame.to_parquet(self.folder / f"{name}.parquet", index=False)
        else:
            source = self.url or "sqlite:///crm.db"
            url = self.url.replace("postgresql", "postgresql+psycopg") if self.url else f"sqlite:///{self.folder}/crm.db"
            engine = sa.create_engine(url)
            with engine.begin() as connection:
                for name in sa.inspect(connection).get_table_names():
                    connection.execute(sa.text(f'drop table "{name}"'))
                for name, frame in frames.items():
                    frame.to_sql(name, connection, index=False)
            engine.dispose()
        data = {"source": source, "data_until": datetime(2025, 7, 1), **config.pop("data", {})}
        return load(Mapping.from_dict({"data": data, **config}), base=self.folder)

    def check(self, rows: Tables, **config: Any) -> tuple[Source, Report]:
        source = self.load(rows, **config)
        return source, check(source)


@pytest.fixture
def books(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Company:
    url = request.getfixturevalue("cluster") if store == "postgres" else None
    return Company(store, tmp_path / "tables", url)


def only(report: Report, rule: str, table: str, column: str | None = None) -> Finding:
    found = list(report.of(rule, table, column))
    assert len(found) == 1, [(f.table, f.column, f.rule) for f in report.findings]
    return found[0]


def ids(source: Source, table: str, column: str) -> list[Any]:
    return sorted(source.tables[table][column].execute().tolist())


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in [*report.fatal, *report.warnings]}


def test_a_clean_company_has_no_warning_but_late_data_until(books: Company) -> None:
    source, report = books.check(company(), data={"data_until": datetime(2025, 2, 10)})
    assert rules(report) == set()
    assert {name: table.count().execute() for name, table in source.tables.items()} == {
        "accounts": 2,
        "subscriptions": 2,
        "usage": 2,
        "tickets": 1,
    }


def test_missing_required_column_is_fatal_and_names_what_there_is(books: Company) -> None:
    tables = company()
    for row in tables["subscriptions"]:
        row["begins"] = row.pop("started_at")
    _, report = books.check(tables)
    finding = only(report, "missing_column", "subscriptions", "started_at")
    assert finding in report.fatal
    assert "begins" in finding.what_to_do


def test_missing_required_table_is_fatal(books: Company) -> None:
    tables = company()
    del tables["subscriptions"]
    _, report = books.check(tables)
    assert only(report, "missing_table", "subscriptions") in report.fatal


def test_wrong_type_is_counted_row_refused_where_required_value_missing_where_not(books: Company) -> None:
    tables = company()
    tables["usage"][0]["occurred_at"] = "yesterday"
    tables["subscriptions"][1]["seats"] = "a few"
    source, report = books.check(tables)
    late = only(report, "unreadable_value", "usage", "occurred_at")
    assert late.rows == 1
    assert late.example is not None
    assert "row 1" in late.example
    assert "'yesterday'" in late.example
    assert ids(source, "usage", "event_id") == ["e2"]
    assert "'a few'" in str(only(report, "unreadable_value", "subscriptions", "seats").example)
    assert source.tables["subscriptions"].filter(lambda t: t.seats.isnull()).count().execute() == 1


def test_required_column_that_fails_everywhere_is_fatal(books: Company) -> None:
    tables = company()
    for row in tables["usage"]:
        row["occurred_at"] = "?"
    _, report = books.check(tables)
    assert only(report, "unreadable_value", "usage") in report.fatal


def test_unknown_account_is_refused(books: Company) -> None:
    tables = company()
    tables["usage"][1]["account_id"] = "Z"
    source, report = books.check(tables)
    assert "'Z'" in str(only(report, "unknown_account", "usage", "account_id").example)
    assert ids(source, "usage", "account_id") == ["A"]


def test_duplicate_keys_keep_the_earliest_whatever_the_order(books: Company) -> None:
    for reverse in (False, True):
        tables = company()
        tables["usage"].append({**tables["usage"][0], "occurred_at": "2025-01-05 08:00"})
        tables["tickets"].append(dict(tables["tickets"][0]))
        if reverse:
            tables["usage"].reverse()
        source, report = books.check(tables)
        assert only(report, "duplicate_key", "usage", "event_id").rows == 1
        assert "e1" in str(only(report, "duplicate_key", "usage").example)
        assert only(report, "duplicate_row", "tickets").rows == 1
        kept = source.tables["usage"].filter(lambda t: t.event_id == "e1").occurred_at.execute()
        assert [moment.isoformat() for moment in kept] == ["2025-01-05T08:00:00"]


def test_versions_of_a_key_are_no_duplicates(books: Company) -> None:
    tables = company()
    tables["subscriptions"][1] |= {"recorded_at": "2025-01-01"}
    tables["subscriptions"].append({**tables["subscriptions"][1], "recorded_at": "2025-03-01", "mrr": "70"})
    source, report = books.check(tables)
    assert not list(report.of("duplicate_key"))
    assert source.tables["subscriptions"].count().execute() == 3
    # A row without a recorded time was recorded when it happened.
    assert source.tables["subscriptions"].recorded_at.isnull().any().execute() is not True


def test_end_before_start_refuses_a_subscription_and_lifts_other_facts(books: Company) -> None:
    tables = company()
    tables["subscriptions"][1]["ended_at"] = "2024-12-01"
    tables["tickets"][0]["resolved_at"] = "2025-01-15"
    source, report = books.check(tables)
    assert "'2024-12-01'" in str(only(report, "ends_before_start", "subscriptions", "ended_at").example)
    assert ids(source, "subscriptions", "subscription_id") == ["s1"]
    assert only(report, "ends_before_start", "tickets", "resolved_at").rows == 1
    assert source.tables["tickets"].resolved_at.execute().tolist() == source.tables["tickets"].opened_at.execute().tolist()


@pytest.mark.parametrize("column", ["mrr", "seats"])
def test_negative_price_or_seats_refuse_the_row(books: Company, column: str) -> None:
    tables = company()
    tables["subscriptions"][1][column] = "-5"
    source, report = books.check(tables)
    assert only(report, "negative_value", "subscriptions", column).rows == 1
    assert ids(source, "subscriptions", "subscription_id") == ["s1"]


def test_two_currencies_without_rates_are_fatal_and_with_rates_fine(books: Company) -> None:
    tables = company()
    for row, currency in zip(tables["subscriptions"], ("EUR", "SEK"), strict=True):
        row["currency"] = currency
    _, report = books.check(tables, data={"reporting_currency": "EUR"})
    finding = only(report, "currencies_without_rates", "subscriptions", "currency")
    assert finding in report.fatal
    assert "SEK" in str(finding.example)
    tables["fx"] = [{"currency": "SEK", "date": "2025-01-01", "rate": "0.09"}]
    source, report = books.check(tables, data={"reporting_currency": "EUR"})
    assert report.ok
    assert source.currencies == ["EUR", "SEK"]


def test_rows_past_data_until_are_counted_and_never_read(books: Company) -> None:
    tables = company()
    tables["usage"][1]["occurred_at"] = "2025-07-01"
    tables["usage"].append({**tables["usage"][0], "event_id": "e3", "recorded_at": "2025-08-01"})
    source, report = books.check(tables)
    assert only(report, "past_data_until", "usage", "occurred_at").rows == 1
    assert only(report, "past_data_until", "usage", "recorded_at").rows == 2  # e2 was recorded when it happened
    assert ids(source, "usage", "event_id") == ["e1"]


def test_data_until_missing_early_or_late(books: Company) -> None:
    missing = check(books.load(company(), data={"data_until": None}))
    assert "2025-02-03" in str(only(missing, "missing_data_until", "", "data_until").example)
    early = check(books.load(company(), data={"data_until": datetime(2020, 1, 1)}))
    assert not early.ok
    late = check(books.load(company(), data={"data_until": datetime(2026, 1, 1)}))
    assert only(late, "after_everything", "").severity == "warning"


def test_empty_tables(books: Company) -> None:
    tables = company()
    _, report = books.check(tables, tables={"usage": {"where": "false"}})
    assert only(report, "empty_table", "usage").severity == "warning"
    _, report = books.check(tables, tables={"accounts": {"where": "account_id = 'nobody'"}})
    assert only(report, "empty_table", "accounts") in report.fatal
    assert only(report, "filtered", "accounts").rows == 2


def test_usage_outside_any_subscription_and_tickets_before_sign_up(books: Company) -> None:
    tables = company()
    tables["usage"][0]["occurred_at"] = "2024-12-31 23:59:59"
    tables["subscriptions"][1]["ended_at"] = "2025-02-02 10:00"
    tables["tickets"][0]["opened_at"] = "2024-11-01"
    source, report = books.check(tables)
    assert only(report, "outside_subscription", "usage", "occurred_at").rows == 2
    assert only(report, "before_signup", "tickets", "opened_at").rows == 1
    assert source.tables["usage"].count().execute() == 2


def test_null_feature_and_unknown_words(books: Company) -> None:
    tables = company()
    tables["usage"][0]["feature"] = None
    tables["touchpoints"] = [{"account_id": "A", "kind": "lunch", "occurred_at": "2025-02-01"}]
    tables["surveys"] = [
        {"account_id": "A", "kind": "NPS", "responded_at": "2025-02-01", "score": "9"},
        {"account_id": "B", "kind": "csat", "responded_at": "2025-02-01", "score": "9"},
        {"account_id": "B", "kind": "csat", "responded_at": "2025-02-05", "score": None},
    ]
    source, report = books.check(tables)
    assert only(report, "missing_value", "usage", "feature").rows == 1
    assert "'lunch'" in str(only(report, "unknown_value", "touchpoints", "kind").example)
    assert only(report, "off_scale", "surveys", "score").rows == 1
    assert only(report, "unanswered", "surveys", "score").rows == 1
    surveys = source.tables["surveys"].execute()
    assert (surveys.sent_at == surveys.responded_at).all()
    assert set(surveys.kind) == {"nps", "csat"}


def test_reactivation_and_contradicting_flags(books: Company) -> None:
    tables = company()
    tables["subscriptions"][0]["ended_at"] = "2025-02-10"
    tables["subscriptions"].append({**tables["subscriptions"][0], "started_at": "2025-04-01", "ended_at": None})
    tables["left"] = [{"account_id": "B", "gone": "TRUE"}, {"account_id": "A", "gone": "FALSE"}]
    name = {"csv": "left.csv", "parquet": "left.parquet"}.get(books.store, "left")
    flags = {"churn_flags": [{"from": name, "flag": "gone"}]}
    _, report = books.check(tables, checks=flags)
    assert "account_id=A" in str(only(report, "reactivation", "subscriptions").example)
    finding = only(report, "churn_flags_disagree", "accounts", "gone")
    assert finding.rows == 1
    assert "account_id=B" in str(finding.example)


def test_columns_that_change_unseen_are_named_unless_they_have_versions(books: Company) -> None:
    tables = company()
    for row in tables["accounts"]:
        row["csm"] = "Aino"
    _, report = books.check(tables)
    assert only(report, "changes_unseen", "accounts").example == "csm"
    for row in tables["accounts"]:
        row["recorded_at"] = "2025-01-01"
    _, report = books.check(tables)
    assert not list(report.of("changes_unseen"))


def test_the_record_is_json_of_the_promised_shape(books: Company) -> None:
    tables = company()
    tables["usage"][1]["account_id"] = "Z"
    _, report = books.check(tables)
    records = json.loads(json.dumps(report.as_json()))
    assert set(records) == {"fatal", "warnings", "notes"}
    for record in (*records["fatal"], *records["warnings"], *records["notes"]):
        assert list(record) == ["table", "column", "rule", "rows", "example", "what_to_do"]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("usage.parquet", b"<!DOCTYPE html><html>login</html>", "not_what_its_name_says"),
        ("usage.csv", b"PAR1\x15\x04\x15\x00\x00PAR1", "not_what_its_name_says"),
        ("usage.csv", b"PK\x03\x04\x14\x00\x06\x00", "not_what_its_name_says"),
        ("usage.parquet", b"account_id,feature\nA,login\n", "not_what_its_name_says"),
        ("usage.parquet", b"PAR1 and then nothing more", "unreadable_file"),
        ("usage.csv", b"", "empty_file"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    books = Company("csv", tmp_path, None)
    tables = company()
    del tables["usage"]
    (tmp_path / name).write_bytes(content)
    _, report = books.check(tables)
    assert name in only(report, rule, "usage").what_to_do
    assert report.ok == (rule == "empty_file")


def test_lines_that_cannot_be_read_and_a_byte_order_mark(tmp_path: Path) -> None:
    books = Company("csv", tmp_path, None)
    tables = company()
    del tables["usage"]
    text = "﻿account_id;feature;occurred_at\nA;login;2025-02-01\nB;login\nB;käyttö;2025-02-01\n"
    (tmp_path / "usage.csv").write_text(text, encoding="utf-8")
    source, report = books.check(tables)
    assert only(report, "byte_order_mark", "usage").rows == 1
    unreadable = only(report, "unreadable_row", "usage")
    assert (unreadable.rows, "line 3" in str(unreadable.example)) == (1, True)
    assert ids(source, "usage", "feature") == ["käyttö", "login"]


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    for source in ("nowhere", "sqlite:///nothing.db", "postgresql://x:secret@127.0.0.1:1/none"):
        report = check(load(Mapping.from_dict({"data": {"source": source}}), base=tmp_path))
        finding = only(report, "missing_source", "")
        assert finding in report.fatal
        assert "secret" not in finding.what_to_do
    assert not (tmp_path / "nothing.db").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_every_trap_of_ravenstack_is_counted() -> None:
    mapping = Mapping.from_dict(tomllib.loads(propose(str(SHARED / "ravenstack"))))
    source = load(mapping, base=Path())
    report = check(source)
    assert report.ok
    assert sum(finding.rows for finding in report.of("byte_order_mark")) == 4
    assert mapping.tables["usage"].dates == "day_first"
    assert only(report, "before_its_subscription", "usage").rows == 19_142  # 77 % of 25,000
    assert only(report, "before_signup", "tickets").rows == 1_077  # 54 % of 2,000
    assert only(report, "duplicate_key", "usage", "event_id").rows == 21
    assert only(report, "unanswered", "surveys", "score").rows == 825  # 41 % of 2,000
    assert only(report, "reactivation", "subscriptions").rows == 9
    assert only(report, "churn_flags_disagree", "accounts").rows == 450
    assert source.tables["usage"].count().execute() == 25_000 - 21


def test_data_until_today_is_the_last_midnight_and_any_other_word_is_refused(csv, kunto):
    place = csv(CONFIG.replace("2026-02-01", '"today"'))
    mapping = Workspace(place).mapping
    assert mapping.data.data_until == datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    place.joinpath("kunto.toml").write_text('[data]\ndata_until = "tomorrow"\n', encoding="utf-8")
    ran = kunto("check", "-w", place)
    assert ran.code == 2
    assert "data_until" in ran.told
    assert "tomorrow" in ran.told
