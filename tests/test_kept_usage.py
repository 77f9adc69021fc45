"""Use out of kept rollups gives the features, and the findings, of a load of all rows; a night reads the files that are new."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kept_usage_files import CONFIG, UNTIL, company_in, frame, good, loaded, made, write

from features import usage_files
from features.check import check
from features.loader import Source


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return company_in(tmp_path)


@pytest.fixture
def usage(base: Path) -> Path:
    return base / "tables" / "usage"


def findings(source: Source) -> dict[tuple[str, str | None, str], int]:
    """What is worth acting on: how many rows each finding has."""
    return {(one.severity, one.column, one.rule): one.rows for one in check(source).findings if one.table == "usage"}


def held_equal(base: Path, config: dict[str, Any] = CONFIG) -> Source:
    """Assert that kept rollups give what all rows give."""
    kept, whole = loaded(base, keep=True, config=config), loaded(base, keep=False, config=config)
    assert (kept.kept_usage is not None, kept.usage_read_whole) == (True, None), check(kept).fatal
    pd.testing.assert_frame_equal(frame(kept.tables), frame(whole.tables), rtol=1e-9, atol=0)
    return kept


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("without", [(), ("recorded_at", "users"), ("event_id", "recorded_at")])
def test_any_files_give_the_features_of_all_rows(base: Path, usage: Path, seed: int, without: tuple[str, ...]) -> None:
    """Night by night, then all at once; a column that only some files have is null in the others."""
    for night in range(3):
        write(usage / f"{night}.parquet", made(10 * seed + night), without if night != 1 else ())
        held_equal(base)
    shutil.rmtree(base / "rollups")
    held_equal(base)


def test_without_a_column_in_any_file(base: Path, usage: Path) -> None:
    for night in range(2):
        write(usage / f"{night}.csv", made(night), ("event_id", "recorded_at", "users", "quantity"))
        held_equal(base)


def test_the_findings_are_those_of_all_rows(base: Path, usage: Path) -> None:
    """The rows of each fault, whichever file they are in; of a copied id whether its content is the same."""
    late = UNTIL + pd.Timedelta(3, "D")
    faults = [
        *(good(20 + n, account_id="zz") for n in range(3)),
        *(good(30 + n, feature=None) for n in range(2)),
        *(good(40 + n, users=-1) for n in range(4)),
        *(good(50 + n, occurred_at=late, recorded_at=late) for n in range(2)),
        good(60, recorded_at=late),
        *(good(70 + n, account_id="b", occurred_at=pd.Timestamp("2026-01-05")) for n in range(5)),
        *(good(80 + n, value=None, occurred_at=pd.Timestamp("2025-10-01")) for n in range(100)),
    ]
    write(usage / "1.csv", [*map(good, range(10)), *faults[:9]])
    loaded(base, keep=True)
    write(usage / "2.csv", [*faults[9:], good(0), good(1), good(2, quantity=7)])
    found, expected = findings(loaded(base, keep=True)), findings(loaded(base, keep=False))
    assert found == expected
    assert {rule for _, _, rule in expected} == {
        *("unknown_account", "missing_value", "negative_value", "past_data_until", "outside_subscription", "missing_values"),
        *("duplicate_row", "duplicate_key"),
    }
    kept, whole = loaded(base, keep=True), loaded(base, keep=False)
    assert kept.kept_usage is not None
    assert kept.kept_usage.rows == whole.tables["usage"].count().execute()
    assert kept.kept_usage.newest == whole.tables["usage"].occurred_at.max().execute()


def test_a_night_reads_the_file_that_is_new(base: Path, usage: Path, read: list[str]) -> None:
    """A late row, into a month that is kept, and a file of a content that was counted: none of them has another one read."""
    write(usage / "1.parquet", map(good, range(60)))
    held_equal(base)
    write(
        usage / "2.parquet",
        [good(200, occurred_at=UNTIL - pd.Timedelta(1, "h")), good(300, occurred_at=pd.Timestamp("2025-09-03"))],
    )
    assert read == ["1.parquet"]
    held_equal(base)
    (usage / "3.parquet").write_bytes((usage / "1.parquet").read_bytes())
    kept = held_equal(base)
    assert read == ["1.parquet", "2.parquet"]
    told = [one for one in kept.report.warnings if one.rule == "file_delivered_twice"]
    assert [(one.rows, one.example) for one in told] == [(60, "usage/3.parquet holds what usage/1.parquet does")]


def test_a_file_without_ids_that_is_delivered_twice_counts_once(base: Path, usage: Path) -> None:
    write(usage / "1.parquet", map(good, range(9)), ("event_id",))
    once = frame(loaded(base, keep=True).tables)
    (usage / "2.parquet").write_bytes((usage / "1.parquet").read_bytes())
    pd.testing.assert_frame_equal(frame(loaded(base, keep=True).tables), once)


def test_a_changed_mapping_reads_all_anew(base: Path, usage: Path, read: list[str]) -> None:
    for night in range(2):
        write(usage / f"{night}.csv", map(good, range(20 * night, 20 * night + 20)))
    held_equal(base)
    columns = {"quantity": {"from": "quantity", "scale": 3.0}, "feature": {"from": "feature", "values": {"save": "open"}}}
    for change in ({"columns": columns}, {"where": "account_id <> 'c'", "grain": "day"}):
        held_equal(base, CONFIG | {"tables": {"usage": {"from": "usage/*"} | change}})
    assert read == ["0.csv", "1.csv"] * 3


def test_a_large_file_is_read_in_parts(base: Path, usage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_files, "_PART_ROWS", 25)
    write(usage / "1.parquet", made(1))
    write(usage / "2.parquet", made(2))
    held_equal(base)
    found, expected = findings(loaded(base, keep=True)), findings(loaded(base, keep=False))
    refused = ("warning", "feature", "missing_value")
    assert found[refused] == expected[refused] > 7


def test_one_file_that_grows(base: Path, usage: Path) -> None:
    for rows in (20, 60):
        write(usage / "all.csv", made(5)[:rows])
        held_equal(base)


def test_one_file_that_is_named_is_read_whole(base: Path) -> None:
    write(base / "tables" / "usage.csv", made(5))
    source = loaded(base, keep=True, config=CONFIG | {"tables": {}})
    assert (source.kept_usage, source.usage_read_whole) == (None, None)
    assert not (base / "rollups").exists()


@pytest.mark.parametrize(
    ("usage_mapping", "until", "told"),
    [
        (
            {"where": "occurred_at > (select min(occurred_at) from t)"},
            UNTIL,
            "tables.usage.where has 'select', so that what a row means",
        ),
        ({"columns": {"value": {"sql": "sum(1) over ()"}}}, UNTIL, "tables.usage.columns.value.sql has 'over'"),
        ({"columns": {"account_id": {"from": "user_id", "through": "accounts"}}}, UNTIL, "account_id comes through accounts"),
        ({}, UNTIL + pd.Timedelta(1, "h"), "data_until is 2026-02-01 01:00:00, and kept rollups answer midnights"),
    ],
)
def test_what_hangs_on_more_than_the_row_is_read_whole(
    base: Path, usage: Path, usage_mapping: dict[str, Any], until: pd.Timestamp, told: str
) -> None:
    write(usage / "1.csv", made(1))
    data = {"source": "tables", "data_until": until.to_pydatetime()}
    source = loaded(base, keep=True, config={"data": data, "tables": {"usage": {"from": "usage/*"} | usage_mapping}})
    assert source.kept_usage is None
    assert source.usage_read_whole is not None
    assert told in source.usage_read_whole
    assert not (base / "rollups").exists()


def test_a_database_is_read_whole(base: Path, usage: Path) -> None:
    source = loaded(base, keep=True, config={"data": {"source": "sqlite:///none.db", "data_until": UNTIL.to_pydatetime()}})
    assert (source.kept_usage, source.usage_read_whole) == (None, None)


# Faults


def fatal(source: Source) -> list[tuple[str, str | None]]:
    return [(one.rule, one.what_to_do) for one in source.report.fatal if one.table == "usage"]


def test_a_file_that_lacks_a_required_column_is_named_and_what_is_kept_stays(base: Path, usage: Path) -> None:
    write(usage / "1.parquet", made(1))
    before = frame(loaded(base, keep=True).tables)
    write(usage / "2.parquet", made(2), ("feature",))
    ((rule, told),) = fatal(loaded(base, keep=True))
    assert rule == "missing_column"
    assert told.startswith(
        "feature is not in usage/2.parquet: name its source column in tables.usage.columns.feature; usage/2.parquet"
    )
    (usage / "2.parquet").unlink()
    pd.testing.assert_frame_equal(frame(loaded(base, keep=True).tables), before)


@pytest.mark.parametrize(
    ("damage", "rule", "told"),
    [
        (lambda path: path.unlink(), "missing_file", "usage/2.parquet is counted and is gone: put it back, or delete"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            "unreadable_file",
            "2.parquet is cut off; copy or export it again",
        ),
        (lambda path: path.write_bytes(b"<html>"), "not_what_its_name_says", "2.parquet is named as a Parquet file but holds"),
    ],
)
def test_a_file_that_is_gone_or_damaged_is_named(base: Path, usage: Path, damage: Any, rule: str, told: str) -> None:
    for night in (1, 2):
        write(usage / f"{night}.parquet", made(night))
    loaded(base, keep=True)
    damage(usage / "2.parquet")
    ((found, advice),) = fatal(loaded(base, keep=True))
    assert found == rule
    assert told in advice


def test_files_of_which_no_row_can_be_used(base: Path, usage: Path) -> None:
    write(usage / "1.csv", [good(1, feature=None)])
    kept, whole = loaded(base, keep=True), loaded(base, keep=False)
    assert (
        [(one.rule, one.rows) for one in kept.report.fatal]
        == [(one.rule, one.rows) for one in whole.report.fatal]
        == [("missing_value", 1)]
    )
    write(usage / "2.csv", [good(1)])
    assert not loaded(base, keep=True).report.fatal
    write(usage / "1.csv", [])
    write(usage / "2.csv", [])
    kept, whole = loaded(base, keep=True), loaded(base, keep=False)
    assert [(one.rule, one.rows) for one in kept.report.warnings] == [(one.rule, one.rows) for one in whole.report.warnings]
    held_equal(base)


def test_an_account_that_is_added_later_has_its_use(base: Path, usage: Path, read: list[str]) -> None:
    accounts = base / "tables" / "accounts.csv"
    everyone = accounts.read_text()
    accounts.write_text(everyone.replace("c,2025-06-01\n", ""))
    write(usage / "1.parquet", map(good, range(0, 90, 2)))
    write(usage / "2.parquet", [good(n, account_id="c") for n in range(1, 90, 2)])
    assert loaded(base, keep=True).kept_usage.rows == 45
    accounts.write_text(everyone)
    assert held_equal(base).kept_usage.rows == 90
    assert read == ["1.parquet", "2.parquet"]


def test_a_moved_end_of_the_data_reads_no_file_again(base: Path, usage: Path, read: list[str]) -> None:
    """And a version of a row that lies after the end takes its place only once the end has moved on."""
    later = pd.Timestamp("2026-02-10")
    write(
        usage / "1.parquet",
        [*map(good, range(150)), good(3, occurred_at=later, recorded_at=pd.Timestamp("2026-01-01"), quantity=9)],
    )
    held_equal(base)
    moved = CONFIG | {"data": {"source": "tables", "data_until": pd.Timestamp("2026-03-01").to_pydatetime()}}
    held_equal(base, moved)
    assert read == ["1.parquet"]


def test_a_damaged_partition_is_named(base: Path, usage: Path) -> None:
    write(usage / "1.parquet", map(good, range(90)))
    loaded(base, keep=True)
    path = next((base / "rollups" / "2025-10").glob("rows-*"))
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(whole[:4] + bytes(len(whole) - footer - 4) + whole[-footer:])
    ((rule, told),) = fatal(loaded(base, keep=True))
    assert (rule, f"{path} is damaged; delete {base / 'rollups'}, and all is rolled up anew") == ("rollup_partition", told)
