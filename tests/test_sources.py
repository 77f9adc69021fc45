"""A source that is not connected: the job still runs and says so; and benchmarks.sources, which measures what each is worth."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import sources
from benchmarks.known_truth import opened
from features.builder import snapshot
from features.contract import REQUIRED_TABLES, TABLES
from kunto import jobs
from kunto.console import watching
from kunto.workspace import Workspace
from models import health

OPTIONAL = [name for name in TABLES if name not in REQUIRED_TABLES]
UNTIL = pd.Timestamp("2026-07-01")
#: Sets of tables that the whole job is run without, and components that nothing measures then.
WHOLE_JOB = {
    "usage": (["usage"], {"usage"}),
    "all": (OPTIONAL, {"usage", "engagement", "support", "feedback"}),
}
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def workspace(company: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that makes a workspace on the company's tables, but for those that are off."""

    def make(*off: str) -> Path:
        path = tmp_path_factory.mktemp("workspace")
        (path / "tables").mkdir()
        for file in company.iterdir():
            if file.stem not in off:
                os.link(file, path / "tables" / file.name)
        config = f'[data]\nsource = "tables"\ndata_until = {UNTIL:%Y-%m-%d}\n\n[training.booster]\nrounds = 5\n'
        (path / "kunto.toml").write_text(config, encoding="utf-8")
        return path

    return make


def _scored(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `kunto check` reports, and the health of every account by features of the end of the data."""
    loaded = jobs.open_company(Workspace(path)).usable()
    ids = loaded.tables["subscriptions"].select("account_id").distinct().order_by("account_id").execute()
    built = snapshot(loaded.tables, ids.assign(as_of=UNTIL))
    scores = health.score(health.inputs(built), set(loaded.tables)).accounts.set_axis(ids["account_id"])
    components = scores.filter(like="component_").rename(columns=lambda name: name.removeprefix("component_"))
    return loaded.report.as_json(), components.assign(coverage=scores["coverage"])[built.facts["active"].to_numpy(dtype=bool)]


@pytest.fixture(scope="module")
def full(workspace: Make) -> pd.DataFrame:
    return _scored(workspace())[1]


def _not_connected(report: dict[str, Any]) -> list[str]:
    (note,) = [finding for finding in report["notes"] if finding["rule"] == "not_connected"]
    return note["example"].split(", ")


def _coverage_says_so(found: pd.DataFrame, full: pd.DataFrame, off: list[str]) -> None:
    """Coverage falls where the missing tables measure health, and a component that nothing measures any more is empty."""
    parts, connected = health.default_scorecard().components, set(TABLES).difference(off)
    measuring = {part.name: [connected.issuperset(measure.tables) for measure in part.measures] for part in parts}
    assert list(found.index) == list(full.index)
    assert all(found[name].isna().all() for name, there in measuring.items() if not any(there))
    for name, there in measuring.items():
        if all(there):
            assert found[name].equals(full[name]), f"{name} needs none of {off}"
    if all(all(there) for there in measuring.values()):
        assert found["coverage"].equals(full["coverage"])
    else:
        assert (found["coverage"] <= full["coverage"]).all()
        assert found["coverage"].mean() < full["coverage"].mean()


@pytest.mark.parametrize("off", [name for name in OPTIONAL if name not in WHOLE_JOB])
def test_without_a_table_health_is_scored_and_coverage_says_so(off: str, workspace: Make, full: pd.DataFrame) -> None:
    report, found = _scored(workspace(off))
    assert _not_connected(report) == [off]
    _coverage_says_so(found, full, [off])


@pytest.mark.parametrize("which", WHOLE_JOB)
def test_without_a_table_the_whole_job_runs(which: str, workspace: Make, full: pd.DataFrame, kunto: Any) -> None:
    off, empty = WHOLE_JOB[which]
    ran = kunto("run", "-w", workspace(*off), "--outcome", "churn", "--json")
    assert ran.code == 0, ran.told
    assert sorted(_not_connected(ran.json["check"])) == sorted(off)
    (record,) = ran.json["train"]
    assert record["test"]["auc"] is not None
    cards = {r["account_id"]: r["health"]["components"] | {"coverage": r["health"]["coverage"]} for r in ran.json["score"]}
    found = pd.DataFrame.from_dict(cards, orient="index").astype("float64").sort_index()
    _coverage_says_so(found, full, off)
    assert set(found.columns[found.isna().all()]) == empty


# The benchmark


def test_each_table_is_measured_beside_all_and_none(company: Path) -> None:
    with opened(company.parent, UNTIL) as known, watching() as watch:
        # One optional table is enough to try the measuring; without it nothing but the required ones is left.
        few = {name: known.tables[name] for name in (*REQUIRED_TABLES, "invoices")}
        full, without, bare = sources.measure(replace(known, tables=few), watch)
    assert [row["row"] for row in (full, without, bare)] == [sources.FULL, "without invoices", sources.BARE]
    assert [row["off"] for row in (full, without, bare)] == [[], ["invoices"], ["invoices"]]
    assert without | {"row": sources.BARE} == bare, "each row is measured anew, and the same again"
    assert set(full["loss"].values()) <= {0.0, None}
    assert (full["auc_loss_low"], full["auc_loss_high"]) == (0.0, 0.0)
    for name in ("auc", "skill", "average_precision", "health_auc", "health_coverage"):
        assert without["loss"][name] == pytest.approx(full[name] - without[name])
    assert without["loss"]["health_coverage"] > 0
    table = sources.as_markdown([full, without, bare]).splitlines()
    assert len(table) == 5
    assert len({line.count("|") for line in table}) == 1


def test_the_interval_of_a_loss_tells_a_real_one() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.2).astype(float)
    good, accounts = np.clip(0.3 * y + rng.random(400) / 2, 0, 1), np.arange(400) // 2
    low, high = sources.auc_loss_interval(y, accounts, good, rng.random(400))
    assert 0.1 < low < high < 0.6
    backwards = sources.auc_loss_interval(y, accounts, rng.random(400), good)
    assert backwards[1] < 0
