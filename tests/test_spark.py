"""Spark beside DuckDB: features, peers, facts and scores row for row, the commands, and what is refused."""

import sys
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import Demo, Kunto
from sparks import MASTER, UNCLOSED

from benchmarks.real_data import DATA, PROTOCOLS
from benchmarks.real_data import _mapping as mapping_of
from features.builder import build, snapshot
from features.loader import Source, load
from features.snapshots import Snapshot, snapshot_of
from features.sources import SourceError
from features.spark import read_tables
from features.spark_builder import write_features
from kunto import jobs
from kunto.workspace import Workspace
from models.registry import worded
from serving.champions import load_champions
from serving.scoring import score

pytestmark = UNCLOSED

DAY = pd.Timedelta(days=1)
#: A start is known on 1 January, a rate from 1 February on.
SMALL = {
    "accounts": pa.table({"account_id": ["a", "b"]}),
    "subscriptions": pa.table(
        {
            "account_id": ["a", "b"],
            "started_at": pa.array([pd.Timestamp("2025-01-01")] * 2, pa.timestamp("us")),
            "mrr": [10.0, 20.0],
            "currency": ["EUR", "USD"],
        }
    ),
    "fx": pa.table(
        {"currency": ["USD"], "date": pa.array([pd.Timestamp("2025-02-01")], pa.timestamp("us")), "rate": [0.5]},
    ),
}


def small(folder: Path, **changed: pa.Table | None) -> Path:
    """Write the small tables, some replaced or left out."""
    folder.mkdir()
    for name, table in (SMALL | changed).items():
        if table is not None:
            pq.write_table(table, folder / f"{name}.parquet")
    return folder


def on_duckdb(folder: Path) -> dict[str, Any]:
    connection = ibis.duckdb.connect()
    return {path.stem: connection.read_parquet(str(path)) for path in sorted(folder.glob("*.parquet"))}


def written(out: Path, product_features: tuple[str, ...] = ()) -> Snapshot:
    """What Spark wrote with its facts, ordered by instant and account."""
    table = pq.read_table(out).sort_by([("as_of", "ascending"), ("account_id", "ascending")])
    assert pa.types.is_timestamp(table.schema.field("as_of").type)
    micros = table["as_of"].cast(pa.timestamp("us")).cast(pa.int64())
    return snapshot_of(table.set_column(table.schema.get_field_index("as_of"), "as_of", micros), product_features)


def largest_difference(found: Snapshot, expected: Snapshot) -> float:
    """The largest relative difference of all numbers; everything else is the same."""
    largest = 0.0
    for one, other in ((getattr(found, name), getattr(expected, name)) for name in ("features", "facts", "peers")):
        assert list(one.columns) == list(other.columns)
        numbers = [name for name in one.columns if one[name].dtype == np.float64]
        pd.testing.assert_frame_equal(one.drop(columns=numbers), other.drop(columns=numbers), check_dtype=False)
        got, right = one[numbers].to_numpy(), other[numbers].to_numpy()
        assert (np.isnan(got) == np.isnan(right)).all()
        largest = max(largest, float(np.nanmax(abs(got - right) / np.maximum(abs(right), 1.0))))
    return largest


@pytest.mark.trust
def test_features_facts_and_peers_are_those_of_duckdb(spark: Any, demo: Demo, tmp_path: Path) -> None:
    until = Workspace(demo.path).mapping.data.data_until
    dates = [pd.Timestamp(until) - 200 * DAY, pd.Timestamp(until) - 45 * DAY - pd.Timedelta(hours=3, microseconds=1)]
    rows = write_features(spark, read_tables(spark, demo.tables), dates, str(tmp_path / "out"), ("export",), facts=True)
    found = written(tmp_path / "out", ("export",))
    spine = found.features[["account_id", "as_of"]]
    tables = on_duckdb(demo.tables)
    accounts = tables["subscriptions"].account_id.nunique().execute()
    assert rows == len(spine) == 2 * accounts == len(spine.drop_duplicates())
    assert largest_difference(found, snapshot(tables, spine, ("export",))) <= 1e-9
    assert found.facts["active"].sum() > 60
    assert found.peers.notna().any().sum() > 100
    assert found.features.filter(like="export").notna().any().all()
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no scratch is left"


#: What a step takes on Spark hardly hangs on its rows: few tables are quick.
FEW_TABLES = ("accounts", "subscriptions", "tickets")


@pytest.mark.parametrize("names", [FEW_TABLES, pytest.param(None, marks=pytest.mark.trust)], ids=["few tables", "all tables"])
def test_scores_are_those_of_duckdb(spark: Any, demo: Demo, kunto: Kunto, tmp_path: Path, names: tuple[str, ...] | None) -> None:
    (tmp_path / "tables").mkdir()
    for path in demo.tables.glob("*.parquet"):
        if names is None or path.stem in names:
            (tmp_path / "tables" / path.name).symlink_to(path)
    company = jobs.open_company(Workspace(demo.path))
    tables = {name: table for name, table in company.tables.items() if names is None or name in names}
    found = scored_alike(kunto, demo, tmp_path, tables, company.data_until)
    assert len(found) > 60


def scored_alike(
    kunto: Kunto, demo: Demo, folder: Path, tables: dict[str, Any], as_of: pd.Timestamp
) -> dict[str, dict[str, Any]]:
    """Scores that Spark wrote of `folder/tables`, by account; DuckDB gives the same, by the demo's models."""
    out, options = folder / "scores", ("--engine", "spark", "--master", MASTER, "--as-of", as_of.isoformat())
    ran = kunto("score", "-w", demo.path, *options, "--from", folder / "tables", "--out", out, "--json")
    assert ran.code == 0, ran.told
    workspace = Workspace(demo.path)
    company, champions = jobs.open_company(workspace), load_champions(workspace.tracking_uri)
    settings = jobs.scoring_settings(workspace, champions, workspace.settings.training, company.source.reporting_currency)
    versions = {"model": worded(champions.versions), "config": workspace.config_version}
    records = score(tables, as_of, champions, settings, versions=versions).records
    expected = {record["account_id"]: record for record in records}
    found = {record["account_id"]: record for record in pq.read_table(out).to_pylist()}
    assert ran.json == {"out": str(out), "rows": len(found)}
    assert found.keys() == expected.keys()
    for account_id, record in expected.items():
        wanted = {name: value for name, value in record.items() if name not in ("contacts", "disagreement")}
        assert_same(found[account_id], wanted | {"as_of": as_of.to_pydatetime()}, account_id)
    drivers = [driver for record in found.values() for driver in record["reasons"]["drivers"]]
    assert any(driver["peers"] is not None and driver["before"] is not None for driver in drivers)
    return found


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Compare records: numbers at 1e-9, all else exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_same(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, where)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), where
    else:
        assert found == expected, where


def test_a_spine_and_the_command_on_a_small_company(spark: Any, kunto: Kunto, tmp_path: Path) -> None:
    folder = small(tmp_path / "tables")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "kunto.toml").write_text('[data]\nsource = "../tables"\ndata_until = 2025-06-01\n', encoding="utf-8")
    asked = ["--engine", "spark", "--master", MASTER, "--out", tmp_path / "out", "--monthly", "2025-03-01", "2025-04-15"]
    ran = kunto("features", "-w", tmp_path / "w", *asked)
    assert (ran.code, ran.out) == (0, f"Wrote 4 rows of features into {tmp_path / 'out'}.\n"), ran.told
    found = pq.read_table(tmp_path / "out").to_pandas().sort_values(["as_of", "account_id"], ignore_index=True)
    assert found["as_of"].unique().tolist() == [pd.Timestamp("2025-03-01"), pd.Timestamp("2025-04-01")]
    pd.testing.assert_frame_equal(found, build(on_duckdb(folder), found[["account_id", "as_of"]]), check_dtype=False)
    assert found["mrr"].tolist() == [10.0, 10.0, 10.0, 10.0]

    again = kunto("features", "-w", tmp_path / "w", *asked)
    assert again.code == 1
    assert "out is there already: give another folder" in again.told

    day = pd.Timestamp("2025-03-02 01:02:03.000004")
    pq.write_table(pa.table({"account_id": ["b", "b", "c"], "as_of": pa.array([day] * 3)}), tmp_path / "asked.parquet")
    spine = spark.parquet(str(tmp_path / "asked.parquet"))
    assert write_features(spark, read_tables(spark, folder), spine, str(tmp_path / "two")) == 2, "each pair once"
    found = pq.read_table(tmp_path / "two").to_pandas().sort_values("account_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, build(on_duckdb(folder), found[["account_id", "as_of"]]), check_dtype=False)


def test_what_the_tables_lack_is_refused(spark: Any, tmp_path: Path) -> None:
    def write(name: str, day: str = "2025-03-01", **changed: pa.Table | None) -> None:
        tables = read_tables(spark, small(tmp_path / name, **changed))
        write_features(spark, tables, [pd.Timestamp(day)], str(tmp_path / f"{name}-out"))

    with pytest.raises(ValueError, match="fx has no rate for the currency of account b before 2025-01-15"):
        write("rate", "2025-01-15")
    with pytest.raises(ValueError, match=r"EUR.*USD|USD.*EUR"):
        write("rates", fx=None)
    unnamed = SMALL["subscriptions"].rename_columns(["account_id", "start", "mrr", "currency"])
    with pytest.raises(
        ValueError, match="'subscriptions' lacks the required column 'started_at': Spark reads tables in the contract's"
    ):
        write("column", subscriptions=unnamed)
    with pytest.raises(ValueError, match="tables lacks 'accounts', which is required"):
        write("table", accounts=None)
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith("-out") or "scratch" in path.name]


def test_what_stops_spark_is_told_in_a_line(spark: Any, tmp_path: Path) -> None:
    too_large = SMALL["subscriptions"].set_column(2, "mrr", pa.array([1e30, 1.0]))
    tables = read_tables(spark, small(tmp_path / "tables", subscriptions=too_large))
    with pytest.raises(SourceError, match=r"^Spark stopped: .+") as caught:
        write_features(spark, tables, [pd.Timestamp("2025-03-01")], str(tmp_path / "out"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["features", "--engine", "spark"], "--engine spark writes Parquet: give --out"),
        (["features", "--engine", "spark", "--out", "o"], "is no folder of Parquet files: give --from"),
        (["score", "--engine", "spark", "--out", "o", "--from", "t", "--as-of", "2026-03-01"], "lies after the end of the data"),
        (["features", "--out", "o"], "--out o goes with --engine spark"),
        (["score", "--master", "local"], "--master local goes with --engine spark"),
        (["features", "--engine", "flink"], "'flink' is not one of 'duckdb', 'spark'"),
    ],
)
def test_options_that_do_not_go_together(kunto: Kunto, csv: Any, arguments: list[str], told: str) -> None:
    ran = kunto(arguments[0], "-w", csv(), *arguments[1:])
    assert ran.code == 2
    assert told in ran.told


def test_without_pyspark_the_command_says_how_to_install_it(kunto: Kunto, csv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    ran = kunto("features", "-w", csv(), "--engine", "spark", "--from", "t", "--out", "o")
    assert ran.code == 1
    assert "error: PySpark is not installed: run `make install-spark`" in ran.err


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    """The contract's tables as the loader cleans them, and a folder with `tables` as Parquet: the form that Spark reads."""
    (protocol,) = (each for each in PROTOCOLS if each.row == "crm5")
    if not (DATA / protocol.folder).is_dir():
        pytest.skip(f"{DATA / protocol.folder} is not there")
    source, folder = load(mapping_of(protocol), base=DATA), tmp_path_factory.mktemp("crm")
    (folder / "tables").mkdir()
    for name, table in source.tables.items():
        table.to_parquet(str(folder / "tables" / f"{name}.parquet"))
    return source, folder


@pytest.mark.trust
def test_features_of_a_real_crm(spark: Any, crm: tuple[Source, Path], tmp_path: Path) -> None:
    source, folder = crm
    dates = [pd.Timestamp(source.data_until) - days * DAY for days in (90, 400)]
    rows = write_features(spark, read_tables(spark, folder / "tables"), dates, str(tmp_path / "out"), facts=True)
    found = written(tmp_path / "out")
    difference = largest_difference(found, snapshot(source.tables, found.features[["account_id", "as_of"]]))
    print(f"{rows} rows, largest difference {difference:.1e}")  # noqa: T201
    assert rows > 4000
    assert difference <= 1e-9


@pytest.mark.trust
def test_scores_of_a_real_crm(spark: Any, demo: Demo, kunto: Kunto, crm: tuple[Source, Path]) -> None:
    """By models of another company, which ask the same of the tables."""
    source, folder = crm
    found = scored_alike(kunto, demo, folder, source.tables, pd.Timestamp(source.data_until) - 90 * DAY)
    print(f"{len(found)} scores are the same")  # noqa: T201
    assert len(found) > 1000
