"""`kunto features`, `score` and `nightly` out of kept rollups write what they write out of all rows."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_company import CONFIG, TABLES

from features.loader import load
from kunto import jobs, watching
from kunto.workspace import Workspace
from serving.champions import Champions
from serving.store import Store

NIGHTS = 3
MONTHS = ("2026-05-01", "2026-07-01")


@pytest.fixture
def place(demo: Any, tmp_path: Path) -> Path:
    """The demo's workspace, its use in a file for each of three runs of nights, of which one has come."""
    tables = shutil.copytree(demo.tables, tmp_path / "tables")
    path = shutil.copytree(demo.path, tmp_path / "workspace")
    rows = pd.read_parquet(tables / "usage.parquet").sort_values("occurred_at", kind="stable")
    (tables / "usage.parquet").unlink()
    for night in range(NIGHTS):
        part = rows.iloc[len(rows) * night // NIGHTS : len(rows) * (night + 1) // NIGHTS]
        _nights(path).mkdir(exist_ok=True)
        part.to_parquet(_nights(path) / f"{night}.parquet")
    config = (
        (path / "kunto.toml").read_text().replace(str(demo.tables), str(tables)).replace('"usage.parquet"', '"usage/*.parquet"')
    )
    (path / "kunto.toml").write_text(config)
    (tables / "usage").mkdir()
    _bring(path, 0)
    return path


def _nights(place: Path) -> Path:
    return place.parent / "to come"


def _bring(place: Path, night: int) -> None:
    shutil.copy(_nights(place) / f"{night}.parquet", place.parent / "tables" / "usage")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which commands read all rows."""
    return lambda: monkeypatch.setattr(jobs, "load", lambda mapping, *, base, keep: load(mapping, base=base))


def frames(place: Path, kunto: Any) -> list[pd.DataFrame]:
    done = kunto("features", "-w", place, "--monthly", *MONTHS, "--json")
    assert done.code == 0, done.told
    return [pd.read_parquet(path) for path in done.json]


def test_rows_that_cannot_be_used_are_told_where_features_are_written(place: Path, kunto: Any) -> None:
    bad = pd.read_parquet(_nights(place) / "1.parquet").head(7)
    bad["occurred_at"] = bad["occurred_at"].dt.strftime("%d.%m.%Y %H:%M")
    bad.to_parquet(place.parent / "tables" / "usage" / "bad.parquet")
    done = kunto("features", "-w", place)
    assert done.code == 0, done.told
    assert "usage.occurred_at: unreadable_value (7)" in done.err
    assert "`kunto check` says what to do" in done.err
    (place.parent / "tables" / "usage" / "bad.parquet").unlink()
    gone = kunto("features", "-w", place)
    assert gone.code == 1
    assert "usage/bad.parquet is counted and is gone" in gone.err
    assert "kunto check" not in gone.err, "it reads the files that are there"


def test_features_night_by_night(place: Path, kunto: Any, read: list[str], whole: Any) -> None:
    for night in range(NIGHTS):
        _bring(place, night)
        kept = frames(place, kunto)
    assert read == [f"{night}.parquet" for night in range(NIGHTS)]
    assert (Workspace(place).rollups_path / "state.json").is_file()
    paths = sorted((place / "features").glob("2026-0[567]*.parquet"))
    made_of = [pq.read_schema(path).metadata[b"kunto"] for path in paths]
    frames(place, kunto)
    assert [pq.read_schema(path).metadata[b"kunto"] for path in paths] == made_of
    whole()
    for ours, expected in zip(kept, frames(place, kunto), strict=True):
        pd.testing.assert_frame_equal(ours, expected, rtol=1e-9, atol=0)


def test_scores(place: Path, kunto: Any, read: list[str], whole: Any) -> None:
    for night in range(NIGHTS):
        _bring(place, night)
    kept = kunto("score", "-w", place, "--json")
    assert (kept.code, "All of usage is read" in kept.err) == (0, False), kept.told
    again = kunto("score", "-w", place, "--json")
    assert read == [f"{night}.parquet" for night in range(NIGHTS)]
    assert again.json == kept.json
    whole()
    expected = kunto("score", "-w", place, "--json")
    assert [record["account_id"] for record in kept.json] == [record["account_id"] for record in expected.json]
    assert kept.json[0]["versions"] != expected.json[0]["versions"], "what is counted is told in another way than all rows"
    assert _same(_without_versions(kept.json), _without_versions(expected.json))


def _without_versions(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "versions"} for record in records]


def _same(one: Any, other: Any) -> bool:
    """Whether two values out of JSON are equal, numbers to nine digits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == pytest.approx(other, rel=1e-9)) if isinstance(one, float) else bool(one == other)


def _by_pattern(csv: Any, config: str = "") -> Path:
    """A small company's workspace, its use in files by a pattern, of which there is one."""
    place: Path = csv(CONFIG + '[tables.usage]\nfrom = "usage/*.csv"\n' + config, usage=TABLES["usage"])
    usage = place / "tables" / "usage"
    usage.mkdir()
    (place / "tables" / "usage.csv").rename(usage / "1.csv")
    return place


@pytest.mark.parametrize(
    ("config", "arguments", "told"),
    [
        (
            "",
            ("--as-of", "2026-01-15T06:00:00"),
            "All of usage is read: T is 2026-01-15 06:00:00, and kept rollups answer midnights (UTC).",
        ),
        (
            "where = \"feature in (select 'login')\"\n",
            (),
            "All of usage is read: tables.usage.where has 'select', so",
        ),
    ],
)
def test_why_all_is_read_is_told(csv: Any, kunto: Any, config: str, arguments: tuple[str, ...], told: str) -> None:
    place = _by_pattern(csv, config)
    for command in ("features", "score"):
        done = kunto(command, "-w", place, "--json", *arguments)
        assert (done.code, told in done.err) == (0, True), done.told


def test_faults_are_told_without_a_traceback(csv: Any, kunto: Any) -> None:
    place = _by_pattern(csv)
    assert kunto("features", "-w", place).code == 0
    next((place / "rollups").glob("*/days-*")).unlink()
    for command in ("features", "score", "nightly"):
        failed = kunto(command, "-w", place)
        assert failed.code == 1
        assert "is gone; delete" in failed.err
        assert "and all is rolled up anew" in failed.err
        assert "Traceback" not in failed.err
    shutil.rmtree(place / "rollups")
    (place / "tables" / "usage" / "1.csv").write_text("account_id,occurred_at\na,2026-01-02\n")
    failed = kunto("features", "-w", place)
    assert failed.code == 1
    assert "feature is not in usage/1.csv: name its source column in tables.usage.columns.feature" in failed.told


def test_a_night_counts_what_it_brought(csv: Any, kunto: Any, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And its report tells the findings and rows of all files."""
    for module in (jobs, watching):
        monkeypatch.setattr(module, "load_champions", lambda uri: Champions({}, None))
    monkeypatch.setattr(watching, "last_training", lambda workspace: None)
    place = _by_pattern(csv)
    usage = place / "tables" / "usage"

    def night() -> dict[str, Any]:
        done = kunto("nightly", "-w", place, "--again", "--json")
        assert done.code == 0, done.told
        return next(step["result"] for step in done.json["steps"] if step["step"] == "data")

    first = night()
    assert (first["rows"]["usage"], first["newest"]["usage"], first["usage_read_whole"]) == (2, "2026-01-03T10:00:00", None)
    (usage / "2.csv").write_text(
        "\n".join([TABLES["usage"][0], "a,login,2026-01-09 08:00:00", "a,,2026-01-09", "z,login,2026-01-09"])
    )
    second = night()
    assert read == ["1.csv", "2.csv"]
    assert (second["rows"]["usage"], second["newest"]["usage"]) == (3, "2026-01-09T08:00:00")
    found = {(one["column"], one["rule"]): one["rows"] for one in second["findings"] if one["table"] == "usage"}
    assert found == {("feature", "missing_value"): 1, ("account_id", "unknown_account"): 1}
    assert first["data_version"] != second["data_version"] == night()["data_version"]
    with Store.open(Workspace(place).store_url) as store:
        assert store.portfolio_run() is not None
