"""What `kunto init` proposes loads without a fatal finding, on companies of every shape."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from features.check import check
from features.contract import TABLES
from features.loader import Source, load
from features.mapping import Mapping
from features.recognise import match_tables, normal, propose, synonyms
from features.sources import SourceError

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")


def proposed(source: str, base: Path = Path()) -> tuple[dict[str, Any], Source]:
    """Return the proposal as kunto.toml has it, and the company loaded by it without a fatal finding."""
    config = tomllib.loads(propose(source, base=base))
    loaded = load(Mapping.from_dict(config), base=base)
    assert [finding.what_to_do for finding in check(loaded).fatal] == []
    return config, loaded


def write(path: Path, **tables: str) -> str:
    for name, text in tables.items():
        (path / f"{name}.csv").write_text(text, encoding="utf-8")
    return str(path)


CUSTOMERS = "CustomerId,Company Name\nA,Ahti\nB,Brita\n"
CONTRACTS = "ContractId,CustomerId,StartDate,EndDate,ARR\nc1,A,2025-01-01,,1200\nc2,B,2025-02-01,,2400\n"


@needs_data
def test_crm5_periods_whose_end_is_known_ahead() -> None:
    config, source = proposed(str(SHARED / "crm5"))
    assert config["data"]["data_until"] == datetime(2024, 1, 1)
    assert config["tables"]["subscriptions"]["columns"] == {
        "started_at": "start_at",
        "ended_at": "end_at",
        "seats": "quantity",
        "term_months": "bill_period_months",
        "renewal_at": "end_at",
    }
    assert config["tables"]["usage"]["grain"] == "day"
    assert config["tables"]["usage"]["columns"] == {"feature": "event", "occurred_at": "ts"}
    assert source.tables["usage"].count().execute() == 2_642_329
    assert source.tables["usage"].occurred_at.max().execute() < datetime(2024, 1, 1)


@needs_data
def test_oulad_has_the_contracts_names() -> None:
    config, source = proposed(str(SHARED / "oulad"))
    assert config["data"]["data_until"] == datetime(2015, 6, 28)
    assert all(not table.get("columns") for table in config["tables"].values())
    assert {"observed_from", "observed_until"} <= set(source.tables["accounts"].columns)
    assert source.tables["usage"].count().execute() == 538_745


@needs_data
def test_ravenstack_day_first_through_its_subscriptions_and_surveys_of_tickets() -> None:
    config, source = proposed(str(SHARED / "ravenstack"))
    tables = config["tables"]
    assert config["data"]["data_until"] == datetime(2025, 1, 1)
    assert {table["dates"] for table in tables.values()} == {"day_first"}
    assert tables["usage"]["columns"]["account_id"]["through"] == "subscriptions"
    assert tables["subscriptions"]["columns"]["term_months"]["values"] == {"annual": 12, "monthly": 1}
    assert "renewal_at" not in tables["subscriptions"]["columns"]
    assert "where" not in tables["subscriptions"]  # its trials have no price
    assert len(config["checks"]["churn_flags"]) == 3
    surveys = source.tables["surveys"].execute()
    assert (len(surveys), int(surveys.score.isna().sum())) == (2_000, 825)
    assert (surveys.responded_at.isna() == surveys.score.isna()).all()


@needs_data
def test_one_flat_table_is_said_not_to_be_recognised() -> None:
    text = propose(str(SHARED / "mlc_churn"))
    assert "mlc_churn.parquet" in text
    source = load(Mapping.from_dict(tomllib.loads(text)), base=Path())
    assert {finding.table for finding in check(source).fatal} >= {"accounts", "subscriptions"}


def test_foreign_names_units_and_month_first_dates(tmp_path: Path) -> None:
    events = "CustomerId,Action,Timestamp\nA,open,02/28/2025 10:00\nB,open,03/01/2025 11:00\n"
    config, source = proposed(write(tmp_path, acme_customers=CUSTOMERS, acme_contracts=CONTRACTS, acme_events=events))
    assert config["tables"]["usage"]["dates"] == "month_first"
    assert "grain" not in config["tables"]["usage"]
    assert config["data"]["data_until"] == datetime(2025, 3, 2)
    assert source.tables["subscriptions"].order_by("account_id").mrr.execute().astype(float).round(2).tolist() == [100, 200]
    assert sorted(source.tables["accounts"].name.execute()) == ["Ahti", "Brita"]


def test_trials_with_a_price_are_left_out_and_commas_read(tmp_path: Path) -> None:
    subscriptions = "account_id;start_date;mrr;is_trial\nA;31.1.2025;100,5;false\nB;1.2.2025;50,0;TRUE\n"
    config, source = proposed(write(tmp_path, accounts="account_id\nA\nB\n", subscriptions=subscriptions))
    assert config["tables"]["subscriptions"]["decimal_comma"] is True
    assert source.tables["subscriptions"].account_id.execute().tolist() == ["A"]
    assert source.tables["subscriptions"].mrr.execute().astype(float).tolist() == [100.5]


def test_what_is_not_recognised_stands_in_comments(tmp_path: Path) -> None:
    text = propose(write(tmp_path, customers="CustomerId,Shoe\nA,42\n", contracts=CONTRACTS, weather="day,rain\n1,2\n"))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any("Shoe" in line for line in comments)
    assert any("weather.csv" in line for line in comments)


def test_a_table_of_many_files_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "feature_usage").mkdir()
    for month in ("2025-01", "2025-02"):
        write(tmp_path / "feature_usage", **{month: f"CustomerId,Day,Feature\nA,{month}-05,open\n"})
    config, source = proposed(write(tmp_path, customers=CUSTOMERS, contracts=CONTRACTS))
    assert config["tables"]["usage"]["from"] == "feature_usage/*.csv"
    assert source.usage_in_files
    assert source.tables["usage"].count().execute() == 2


@pytest.mark.parametrize("folder", ["usage", "usage.csv"])
def test_a_folder_that_is_called_like_a_table_needs_no_mapping(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / "notes").mkdir()
    write(tmp_path / folder, one="account_id,occurred_at,feature\nA,2025-01-05,open\n")
    write(tmp_path / "notes", one="day,rain\n1,2\n")
    write(tmp_path, accounts="account_id\nA\n", subscriptions="account_id,started_at,mrr\nA,2025-01-01,10\n")
    source = load(Mapping.from_dict({"data": {"source": str(tmp_path), "data_until": datetime(2025, 2, 1)}}), base=tmp_path)
    assert source.origins["usage"] == f"{folder}/*.csv"
    assert source.tables["usage"].count().execute() == 1


def test_a_database(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/crm.db")
    with engine.begin() as connection:
        pd.DataFrame({"id": [1, 2], "signup_date": ["2025-01-01", "2025-01-02"]}).to_sql("customers", connection, index=False)
        rows = {"customer_id": [1, 2], "start_date": ["2025-01-01", "2025-01-02"], "mrr_cents": [1000, 2550]}
        pd.DataFrame(rows).to_sql("subscriptions", connection, index=False)
    engine.dispose()
    config, source = proposed("sqlite:///crm.db", tmp_path)
    assert config["tables"]["accounts"]["columns"]["account_id"] == "id"
    assert source.tables["subscriptions"].order_by("account_id").mrr.execute().astype(float).tolist() == [10, 25.5]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        propose("nowhere", base=tmp_path)


def test_churn_events_are_not_usage() -> None:
    assert match_tables(["churn_events.csv", "accounts.csv"]) == {"accounts": "accounts.csv"}


def test_the_synonyms_name_the_contracts_tables_and_columns() -> None:
    known = synonyms()
    assert set(known["tables"]) == set(TABLES)
    for table, columns in known["columns"].items():
        names = TABLES[table].names if table != "any" else {name for one in TABLES.values() for name in one.names}
        assert set(columns) <= set(names), table
        for words in columns.values():
            assert [normal(word) for word in words] == words
