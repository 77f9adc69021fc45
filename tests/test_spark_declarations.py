"""Spark: every step of a build as DuckDB makes it, operations in which engines differ, Parquet tables, and what is refused."""

import math
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from random_tables import CURRENCIES, random_tables
from sparks import INTERPRETED, UNCLOSED

from features.catalogue import counts
from features.catalogue.declare import as_decimal
from features.plan import ASKED, MIDNIGHTS, PREFIX, Shape, plan
from features.sources import SourceError
from features.spark import connect, read_tables

pytestmark = UNCLOSED

ACCOUNTS = 15
DAY = 86_400_000_000
#: At midnight, at another time of day, and early, when little is known.
INSTANTS = ("2025-06-01", "2025-03-11 13:37:00.000001", "2024-08-15")


@pytest.fixture(scope="module")
def duck() -> Any:
    return ibis.duckdb.connect()


# --- the plan of a build ---------------------------------------------------------------------------------------------


@pytest.mark.trust
def test_every_step_of_a_build_gives_the_same_rows(spark: Any, duck: Any) -> None:
    read = {count.source for count in counts()} | {"fx"}
    frames = random_tables(7, ACCOUNTS, {}, "2024-01-01", "2025-06-01")
    tables = {name: ibis.memtable(frame) for name, frame in frames.items() if name in read}
    given = {f"source_{name}": table.to_pyarrow() for name, table in tables.items()}
    rows = [(f"a{number:04d}", _micros(instant)) for number in range(ACCOUNTS) for instant in INSTANTS]
    asked = [(place, account, as_of, as_of // DAY * DAY) for place, (account, as_of) in enumerate(rows)]
    given["asked"] = pa.table(dict(zip(ASKED, zip(*asked, strict=True), strict=True)), schema=ASKED.to_pyarrow())
    given["midnights"] = pa.table({"midnight": sorted({row[-1] for row in asked})}, schema=MIDNIGHTS.to_pyarrow())
    for name, table in given.items():
        _give(duck, spark, name, table)
    shape = Shape(tuple((name, table.schema()) for name, table in tables.items()), CURRENCIES[1:], ("save",))
    different: dict[str, Any] = {}
    for step in plan(shape):
        expected, found = duck.to_pyarrow(step.expr), spark.to_pyarrow(step.expr)
        # Numbers that only tell the candidates apart are given in no order.
        named = [name for name in expected.column_names if (step.name, name) != ("candidates", "spine_id")]
        if wrong := _differences(expected.select(named), found.select(named)):
            different[step.name] = wrong
        # What a step reads is the same for both, so that a difference is named where it arises.
        _give(duck, spark, step.name, expected)
        if step.name == "segments":
            _give(duck, spark, "segments_known", expected)
    assert different == {}, "step: (DuckDB, Spark)"
    assert expected.num_rows == len(asked), "the last step answers every row"


def _micros(instant: str) -> int:
    return int((datetime.fromisoformat(instant) - datetime(1970, 1, 1)).total_seconds() * 1e6)


def _give(duck: Any, spark: Any, name: str, table: pa.Table) -> None:
    duck.create_table(f"{PREFIX}{name}", table, overwrite=True)
    spark.create_view(f"{PREFIX}{name}", ibis.memtable(table), overwrite=True)


def _differences(expected: pa.Table, found: pa.Table) -> Any:
    if expected.num_rows != found.num_rows:
        return expected.num_rows, found.num_rows
    pairs = zip(_sorted(expected), _sorted(found), strict=True)
    return [(a, b) for one, other in pairs for a, b in zip(one.items(), other.items(), strict=True) if not _same(a[1], b[1])][:5]


def _sorted(table: pa.Table) -> list[dict[str, Any]]:
    """Rows in an order in which floats have no say beyond nine digits."""
    return sorted(table.to_pylist(), key=lambda row: [f"{v:.9e}" if isinstance(v, float) else str(v) for v in row.values()])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


# --- operations in which engines differ ------------------------------------------------------------------------------

_ROWS = pa.table(
    {
        "group": ["a", "a", "b"],
        "day": pa.array([0, 61, 40], pa.int64()),
        "whole": pa.array([2**62 + 1, None, 3], pa.int64()),
        "known": [True, False, None],
        "share": [2.0000005, 1.0000025, None],
        "money": pa.array([Decimal("1000000.000001"), Decimal("0.000003"), None], pa.decimal128(24, 6)),
    }
)


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param(lambda t: t.count(where=t.known), id="nowhere known is none"),
        pytest.param(lambda t: (ibis.literal(1, type="int64") << t.day).bit_or(), id="bits past the 32nd"),
        pytest.param(lambda t: (ibis.literal(1, type="int64") << t.day).bit_or(where=t.known), id="bits of some rows"),
        pytest.param(lambda t: (t.money * t.money).sum().cast("decimal(38, 12)"), id="twelve places of a product"),
        pytest.param(lambda t: as_decimal(t.share).sum(), id="halves"),
        pytest.param(lambda t: t.whole.max(), id="more than a float holds"),
        pytest.param(lambda t: t.share.median(), id="median"),
    ],
)
def test_engines_agree(spark: Any, duck: Any, expr: Any) -> None:
    rows = ibis.memtable(_ROWS)
    wanted = rows.group_by("group").aggregate(found=expr(rows)).order_by("group")
    expected = duck.to_pyarrow(wanted)
    assert spark.to_pyarrow(wanted).to_pylist() == expected.to_pylist()
    assert expected["found"].null_count < 2
    assert spark.execute(wanted)["found"].dropna().tolist() == expected["found"].drop_null().to_pylist()


def test_a_number_that_does_not_fit_stops_the_query(spark: Any) -> None:
    rows = ibis.memtable(_ROWS)
    with pytest.raises(Exception, match="ARITHMETIC_OVERFLOW"):
        spark.to_pyarrow(rows.select(found=rows.whole * 2))


# --- Parquet tables --------------------------------------------------------------------------------------------------


def test_tables_are_read_from_files_and_folders(spark: Any, tmp_path: Path) -> None:
    at = pa.array([datetime(2025, 1, 1, 0, 0, 0, 1)], pa.timestamp("us"))
    pq.write_table(pa.table({"account_id": ["a"], "created_at": at}), tmp_path / "accounts.parquet")
    for folder, seats in (("m=1", None), ("m=2", 3)):
        (tmp_path / "subscriptions" / folder).mkdir(parents=True)
        rows = pa.table({"account_id": ["a"], "started_at": at} | ({"seats": [seats]} if seats else {}))
        pq.write_table(rows, tmp_path / "subscriptions" / folder / "part.parquet")
    (tmp_path / "notes.txt").write_text("no table")
    for path in (tmp_path, tmp_path.as_uri()):
        tables = read_tables(spark, path)
        assert sorted(tables) == ["accounts", "subscriptions"]
        assert tables["accounts"].to_pyarrow().to_pylist() == [{"account_id": "a", "created_at": at[0].as_py()}]
        found = tables["subscriptions"].order_by("m").select("account_id", "seats").to_pyarrow()
        assert found.to_pylist() == [{"account_id": "a", "seats": None}, {"account_id": "a", "seats": 3}]


def test_a_folder_without_tables_is_refused(spark: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds none of the tables accounts, .*give a folder with <table>\.parquet"):
        read_tables(spark, tmp_path)
    with pytest.raises(SourceError, match=r"nowhere://x/accounts\.parquet cannot be read: .*the URL one that Spark can open"):
        read_tables(spark, "nowhere://x")


def test_files_that_cannot_be_read_or_contradict_each_other_are_refused(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "usage").mkdir()
    pq.write_table(pa.table({"account_id": ["a"], "quantity": [1]}), tmp_path / "usage" / "one.parquet")
    (tmp_path / "usage" / "two.parquet").write_bytes(b"no Parquet at all")
    with pytest.raises(SourceError, match=r"usage cannot be read: .*two\.parquet"):
        read_tables(spark, tmp_path)
    pq.write_table(pa.table({"account_id": ["a"], "quantity": ["many"]}), tmp_path / "usage" / "two.parquet")
    with pytest.raises(SourceError, match=r"usage cannot be read: .*(quantity|merge)"):
        read_tables(spark, tmp_path)


# --- the connection --------------------------------------------------------------------------------------------------


def test_a_second_master_is_refused_while_one_runs(spark: Any) -> None:
    with pytest.raises(SourceError, match=r"runs here already, on 'local\[1\]', not on 'local\[2\]'"):
        connect("local[2]")
    again = connect("local[1]", settings=INTERPRETED)
    assert again.to_pyarrow(ibis.memtable(_ROWS).count()).as_py() == len(_ROWS)


def test_it_is_reachable_from_this_machine_alone(spark: Any) -> None:
    settings = dict(spark._session.sparkContext.getConf().getAll())
    assert {settings["spark.driver.host"], settings["spark.driver.bindAddress"]} == {"127.0.0.1"}
    assert settings["spark.ui.enabled"] == "false"
    assert spark._session.conf.get("spark.sql.session.timeZone") == "UTC"


@pytest.mark.parametrize("master", ["", "localhost", "local[0]", "spark://host", "spark:7077", "http://host:7077"])
def test_what_is_no_master_is_refused(master: str) -> None:
    with pytest.raises(SourceError, match=r"is no Spark master; give one of: local, local\[<threads>\]"):
        connect(master)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyspark.sql", None)
        with pytest.raises(SourceError, match="PySpark is not installed: run `make install-spark`"):
            connect("local")
    pytest.importorskip("pyspark", reason="PySpark is not installed: make install-spark")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="needs Java 17 or later, and there is no java on the PATH"):
        connect("local")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SourceError, match=r"JAVA_HOME is .*, where there is no bin/java"):
        connect("local")
