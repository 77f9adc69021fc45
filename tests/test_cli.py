"""The command line: what each command prints, writes and refuses, through the entry point that a user calls."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from small_company import CONFIG, FINDING, TABLES

from features.catalogue import catalog
from kunto import jobs
from kunto.workspace import Workspace
from training import metrics

RECORD = {
    *("outcome", "horizon_days", "name", "version", "train", "test", "baselines", "gate"),
    *("leaks_allowed", "rounds", "calibrators", "reliability", "plays", "challenge", "tuning", "prior", "champion"),
}
EXTENT = {"from", "to", "rows", "accounts", "positives"}
FIGURES = {*metrics.FIGURES}
BASELINES = {"health_score", "logistic", "recency", "tenure_calendar"}
STATES = {"too_few", "no_signal", "signal_no_gain", "pass"}
ACCOUNT = {
    *("account_id", "name", "csm", "tier", "stage", "as_of", "health", "predictions", "curve", "reasons", "play", "arr"),
    *("arr_at_risk", "expected_lifetime_value", "renewal", "contacts", "disagreement", "leaving", "versions"),
}


# What commands print and write


def test_run_does_the_main_job(demo: Any) -> None:
    assert demo.ran.keys() == {"check", "train", "score"}
    assert demo.ran["check"].keys() >= {"fatal", "warnings"}
    assert not demo.ran["check"]["fatal"]
    assert all(finding.keys() == FINDING for found in demo.ran["check"].values() for finding in found)
    assert demo.ran["score"]
    assert all(record.keys() == ACCOUNT for record in demo.ran["score"])
    until = Workspace(demo.path).mapping.data.data_until
    assert (demo.path / "features" / f"{until:%Y-%m-%dT%H%M%S}.parquet").is_file()


def test_train_records_have_the_published_shape(demo: Any) -> None:
    assert [record["outcome"] for record in demo.ran["train"]] == ["churn", "contraction", "expansion"]
    for record in demo.ran["train"]:
        assert record.keys() == RECORD
        assert (record["horizon_days"], record["name"]) == (90, f"kunto-{record['outcome']}-90d")
        assert record["train"].keys() == EXTENT
        assert record["test"].keys() == EXTENT | FIGURES
        assert record["baselines"].keys() == BASELINES
        assert all(figures.keys() >= FIGURES - {"base_rate"} for figures in record["baselines"].values())
        assert record["gate"].keys() == {"state", "passed", "reasons"}
        assert record["gate"]["state"] in STATES
        assert record["gate"]["passed"] == (record["gate"]["state"] == "pass")
        assert record["gate"]["reasons"]
        assert record["train"]["to"] <= record["test"]["from"] < record["test"]["to"]


def test_check_as_json_and_as_text(demo: Any, kunto: Any) -> None:
    machine, person = kunto("check", "-w", demo.path, "--json"), kunto("check", "-w", demo.path)
    assert (machine.code, person.code) == (0, 0)
    assert machine.json == demo.ran["check"]
    for finding in machine.json["warnings"] + machine.json["notes"]:
        assert finding["rule"] in person.told


def _matches(table: pd.DataFrame, records: list[dict[str, Any]]) -> None:
    """A flat file says what the records say."""
    assert table["account_id"].tolist() == [record["account_id"] for record in records]
    assert table["health.score"].tolist() == [record["health"]["score"] for record in records]
    assert table["leaving"].tolist() == [record["leaving"] for record in records]
    curves = [json.loads(cell) if isinstance(cell, str) else None for cell in table["curve"]]
    assert curves == [record["curve"] for record in records]
    assert "null" not in set(table["curve"].dropna())


def test_score_prints_a_worklist_and_writes_files(demo: Any, kunto: Any, tmp_path: Path) -> None:
    printed = kunto("score", "-w", demo.path, "--out", tmp_path / "new" / "scores.json")
    assert printed.code == 0, printed.told
    assert "Worklist of 2026-07-01: " in printed.out
    records = json.loads((tmp_path / "new" / "scores.json").read_text(encoding="utf-8"))
    assert all(record.keys() == ACCOUNT for record in records)
    assert f"{len(records)} active accounts" in printed.told
    assert any(record["leaving"] for record in records), "without one, null curves are not tried"
    assert kunto("score", "-w", demo.path, "--out", tmp_path / "scores.parquet").code == 0
    _matches(pd.read_parquet(tmp_path / "scores.parquet"), records)


def test_score_at_an_earlier_instant(demo: Any, kunto: Any, tmp_path: Path) -> None:
    then = kunto("score", "-w", demo.path, "--as-of", "2026-03-01T06:00:00", "--json", "--out", tmp_path / "scores.csv")
    assert then.code == 0, then.told
    assert {record["as_of"] for record in then.json} == {"2026-03-01T06:00:00"}
    _matches(pd.read_csv(tmp_path / "scores.csv"), then.json)
    nobody = kunto("score", "-w", demo.path, "--as-of", "2001-01-01")
    assert nobody.code == 0
    assert "No account is active" in nobody.told


def test_features_of_an_instant_and_monthly(demo: Any, kunto: Any) -> None:
    one = kunto("features", "-w", demo.path, "--as-of", "2026-02-03", "--json")
    assert one.code == 0, one.told
    frame = pd.read_parquet(one.json[0])
    assert set(frame.columns) >= {"account_id", "as_of", *catalog()}
    assert frame["as_of"].unique().tolist() == [pd.Timestamp("2026-02-03")]
    assert Path(one.json[0]).parent == demo.path / "features"
    made_of = pq.read_schema(one.json[0]).metadata[b"kunto"]
    again = kunto("features", "-w", demo.path, "--as-of", "2026-02-03", "--json")
    assert pq.read_schema(again.json[0]).metadata[b"kunto"] == made_of
    assert json.loads(made_of).keys() == {"data", "config", "code", "engine", "product_features", "as_of"}
    months = kunto("features", "-w", demo.path, "--monthly", "2026-01-15", "2026-03-01")
    assert "Wrote 2 file(s)" in months.told
    assert {path.stem for path in (demo.path / "features").iterdir()} >= {"2026-02-01T000000", "2026-03-01T000000"}


def test_models_lists_every_version(demo: Any, kunto: Any) -> None:
    listed = kunto("models", "-w", demo.path, "--json")
    assert [row.keys() for row in listed.json] == [
        {"name", "version", "gate", "challenge", "auc", "test_from", "aliases", "created"}
    ] * 3
    states = {record["name"]: record["gate"]["state"] for record in demo.ran["train"]}
    assert {row["name"]: row["gate"] for row in listed.json} == states
    printed = kunto("models", "-w", demo.path)
    assert all(name in printed.told for name in states)


@pytest.fixture
def registry(demo: Any, tmp_path: Path) -> tuple[Path, MlflowClient]:
    """A workspace of its own whose registry has four versions of one model: pass, too_few, signal_no_gain, no_signal."""
    path = tmp_path / "workspace"
    path.mkdir()
    shutil.copy(demo.path / "kunto.toml", path)
    client = MlflowClient(tracking_uri=Workspace(path).tracking_uri)
    client.create_registered_model("kunto-churn-90d")
    for state in ("pass", "too_few", "signal_no_gain", "no_signal"):
        client.create_model_version("kunto-churn-90d", tmp_path.as_uri(), tags={"gate": state, "auc": "0.7"})
    return path, client


def test_promotion_goes_through_the_gate_and_back(registry: tuple[Path, MlflowClient], kunto: Any) -> None:
    path, client = registry

    def champion() -> int:
        return int(client.get_model_version_by_alias("kunto-churn-90d", "champion").version)

    assert kunto("rollback", "kunto-churn-90d", "-w", path).code == 1
    first = kunto("promote", "kunto-churn-90d", 1, "-w", path)
    assert (first.code, champion()) == (0, 1), first.told
    for version, state in ((2, "too_few"), (4, "no_signal")):
        refused = kunto("promote", "kunto-churn-90d", version, "-w", path)
        assert refused.code == 1
        assert all(part in refused.err for part in (f"version {version}", "kunto-churn-90d", state, "kunto models"))
        assert champion() == 1
    assert kunto("promote", "kunto-churn-90d", 3, "-w", path, "--json").json == {"name": "kunto-churn-90d", "champion": 3}
    assert champion() == 3
    assert kunto("rollback", "kunto-churn-90d", "-w", path).code == 0
    assert champion() == 1
    unknown = kunto("promote", "kunto-churn-90d", 9, "-w", path)
    assert unknown.code == 1
    assert "9" in unknown.err
    assert "kunto-churn-90d 3" in unknown.err
    assert kunto("promote", "no-such-model", 1, "-w", path).code == 1
    assert kunto("promote", "kunto-churn-90d", "newest", "-w", path).code == 2


def test_simulate_is_repeatable(kunto: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = kunto("simulate", tmp_path / name, "--accounts", 12, "--months", 4, "--seed", 5, "--json")
        assert made.code == 0, made.told
        assert made.json["rows"]["accounts"] == 12
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name / "tables").iterdir()} for name in ("one", "two"))
    assert one == two
    assert "12 accounts" in kunto("simulate", tmp_path / "three", "--accounts", 12, "--months", 4).told


def test_the_workspace_is_named_by_option_variable_or_default(
    demo: Any, kunto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "workspace/kunto.toml" in kunto("check").err, "the default is ./workspace"
    monkeypatch.setenv("KUNTO_WORKSPACE", str(demo.path))
    assert kunto("check", "--json").json == demo.ran["check"]
    assert kunto("check", "--workspace", tmp_path / "elsewhere").code == 2, "the option goes before the variable"


def test_the_console_script_is_the_same_command(demo: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "kunto", "check", "-w", demo.path, "--json"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == demo.ran["check"]


def test_names_are_no_markup(demo: Any, kunto: Any, csv: Any) -> None:
    """A company's own text may hold brackets and colons: it is printed as it is."""
    path = csv(usage=("account_id,feature,occurred_at", "[/x] :smile: [red],login,2026-01-05"))
    shown = kunto("check", "-w", path)
    assert shown.code == 0
    assert "'[/x] :smile: [red]'" in shown.told


# Models of another company


def test_models_are_exported_and_another_company_starts_from_them(demo: Any, tmp_path: Path, kunto: Any, csv: Any) -> None:
    base = tmp_path / "base"
    told = kunto("models", "-w", demo.path, "--export", base, "--json")
    assert told.code == 0, told.told
    assert sorted(told.json["written"]) == sorted(str(path) for path in base.iterdir())
    assert {record["name"] for record in demo.ran["train"]} == {path.name for path in base.iterdir()}
    own = kunto("train", "-w", demo.path, "--outcome", "churn", "--horizon", 90, "--base", base)
    assert own.code == 1
    assert "has seen this company's own data" in own.err
    other = shutil.copytree(demo.path, tmp_path / "other")
    (other / "tables").mkdir()
    for path in demo.tables.glob("*.parquet"):
        table = pd.read_parquet(path)
        ids = {name: "other " + table[name].astype(str) for name in ("account_id", "parent_account_id") if name in table}
        table.assign(**{name: each.where(table[name].notna(), None) for name, each in ids.items()}).to_parquet(
            other / "tables" / path.name
        )
    config = (other / "kunto.toml").read_text(encoding="utf-8")
    (other / "kunto.toml").write_text(config.replace(str(demo.tables), "tables"), encoding="utf-8")
    asked = ("train", "-w", other, "--outcome", "churn")
    (record,) = kunto(*asked, "--horizon", 90, "--base", base, "--json").json
    assert record["prior"]["kind"] == "base"
    refused = kunto(*asked, "--horizon", 90, "--event", "revenue", "--base", base)
    assert refused.code == 1
    assert "the base model of kunto-churn-90d has event notice, not revenue" in refused.err
    nowhere = kunto(*asked, "--base", tmp_path / "nowhere")
    assert (nowhere.code, "Traceback" in nowhere.told) == (1, False)
    assert "nowhere, which holds no model; give a folder that `kunto models --export` wrote" in nowhere.err
    nobody = kunto("models", "-w", csv(), "--export", tmp_path / "none")
    assert nobody.code == 1
    assert "no model serves yet" in nobody.err


# Settings that reach the worklist


def test_the_language_and_currency_of_the_workspace_are_used(csv: Any, kunto: Any) -> None:
    rows = tuple(row.replace("EUR", "SEK") for row in TABLES["subscriptions"])
    config = CONFIG.replace("EUR", "SEK") + '[service]\nlanguage = "fi"\n'
    path = csv(config, subscriptions=rows)
    told = kunto("score", "-w", path).told
    assert "2 aktiivista asiakkuutta, ARR 1 800 SEK" in told
    plays = jobs.in_currency(Workspace(path).settings.plays, "SEK")
    assert plays.currency == "SEK"
    stated = Workspace(path).settings.plays.model_validate({"currency": "USD"})
    assert jobs.in_currency(stated, "SEK").currency == "USD", "what [plays] states stands"
