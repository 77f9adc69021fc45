"""One small company, its workspace, and the real command line, shared by a whole test session."""

import contextlib
import gc
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from databases import new_url, postgres, store
from kept_usage_files import read
from mlflow import MlflowClient
from ran import Demo, Kunto, Ran
from served import served
from small_company import CONFIG, TABLES
from sparks import spark, spark_of_session

import simulation
from kunto.cli import main

# Fixtures of every folder of tests.
__all__ = ["new_url", "postgres", "read", "served", "spark", "spark_of_session", "store"]

# Libraries are a million objects that stay: to look for garbage among them again and again is a fifth of the suite's time.
gc.set_threshold(100_000, 20, 50)

ACCOUNTS, MONTHS, SEED = 120, 20, 2
HORIZON = 90


def run_kunto(*arguments: object) -> Ran:
    """Run the command line in this process, through the entry point that the console script calls."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kunto", *map(str, arguments)])
        patch.setenv("COLUMNS", "400")  # so that no name is broken over two lines
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def kunto() -> Kunto:
    """The command line: `kunto("score", "-w", folder)`."""
    return run_kunto


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated company's tables, as Parquet."""
    folder = tmp_path_factory.mktemp("company")
    simulation.write(simulation.simulate(ACCOUNTS, MONTHS, SEED), folder)
    return folder / "tables"


@pytest.fixture(scope="session")
def demo(company: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`kunto init` and `kunto run` once.

    What serves must not hang on how a gate decides over so few accounts: afterwards every model has the champion alias.
    """
    path = tmp_path_factory.mktemp("demo") / "workspace"
    made = run_kunto("init", path, "--from", company)
    assert made.code == 0, made.told
    with (path / "kunto.toml").open("a", encoding="utf-8") as config:
        config.write("\n[training.booster]\nrounds = 40\n")
    ran = run_kunto("run", "--workspace", path, "--horizon", HORIZON, "--json")
    assert ran.code == 0, ran.told
    uri = f"sqlite:///{path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    for record in ran.json["train"]:
        assert record["version"] == 1, record
        client.set_registered_model_alias(record["name"], "champion", "1")
    return Demo(path, company, ran.json, uri)


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    """A function that makes a workspace on a folder of CSV files, some tables replaced, and returns its path."""

    def make(config: str = CONFIG, **changed: tuple[str, ...] | bytes) -> Path:
        folder = tmp_path / "workspace" / "tables"
        folder.mkdir(parents=True)
        for name, content in (TABLES | changed).items():
            raw = content if isinstance(content, bytes) else ("\n".join(content) + "\n").encode()
            (folder / f"{name}.csv").write_bytes(raw)
        (folder.parent / "kunto.toml").write_text(config, encoding="utf-8")
        return folder.parent

    return make
