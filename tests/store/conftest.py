"""Real databases for the store's tests: SQLite files, and a PostgreSQL cluster of this session's own."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from serving.store import Decision, Identity, Store

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def _as_server_user(*command: str | Path) -> list[str]:
    """PostgreSQL refuses to run as root: step down to its own user then."""
    words = [str(word) for word in command]
    return ["runuser", "-u", "postgres", "--", *words] if os.geteuid() == 0 else words


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a throw-away PostgreSQL server, without a database name; its session zone is not UTC on purpose."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin")
    if os.geteuid() == 0 and not (shutil.which("runuser") and any(user.pw_name == "postgres" for user in pwd.getpwall())):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres to run it as")
    # not tmp_path: pytest's folders are closed to the server's user
    with tempfile.TemporaryDirectory(prefix="kunto-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data, port = Path(folder) / "data", _free_port()
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run(
            _as_server_user(BINARIES[-1] / "initdb", "-D", data, "-U", "kunto", "-A", "trust", "-E", "UTF8", "--no-sync"),
            **run,
        )
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off -c timezone=Asia/Kolkata"
        )
        control = _as_server_user(BINARIES[-1] / "pg_ctl", "-D", data, "-w", "-l", Path(folder) / "log", "-o", options)
        subprocess.run([*control, "start"], **run)
        try:
            yield f"postgresql://kunto@127.0.0.1:{port}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """A function that names a new, empty database; every test that uses it runs on both kinds."""
    number = itertools.count()
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("stores")
        return lambda: f"sqlite:///{folder}/{next(number)}.db"
    server = request.getfixturevalue("postgres")

    def create() -> str:
        # A database each would cost 8 MB and half a second; a counter would start anew where pytest sets the parameter up twice.
        schema = f"store_{uuid.uuid4().hex}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        return f"{server}/postgres?options=-c%20search_path%3D{schema}"

    return create


@pytest.fixture
def store(new_url: Callable[[], str]) -> Iterator[Store]:
    """An empty store."""
    with Store.open(new_url()) as opened:
        yield opened


@pytest.fixture(scope="session")
def record() -> Callable[..., dict[str, Any]]:
    """A function that makes a scored account of interface shape."""
    return scored


def scored(account_id: str = "a1", as_of: str = "2026-03-01T00:00:00", score: int = 71, p_churn: float = 0.125) -> dict:
    drivers = [
        {
            "driver": driver,
            "direction": "raises",
            "contribution": 0.4,
            "feature": "active_days_30d",
            "value": 3.0,
            "before": 11.0,
            "peers": None,
            "text": f"Sanna of {account_id} has stopped logging in",
        }
        for driver in ("usage_decline", "silence", "growth")
    ]
    return {
        "account_id": account_id,
        "name": f"{account_id.upper()} Oy",
        "csm": "Maija Meikäläinen",
        "tier": "key",
        "stage": "adoption",
        "as_of": as_of,
        "health": {"score": score, "band": "neutral", "coverage": 0.9, "components": {"usage": 60.5, "support": None}},
        "predictions": [
            {"outcome": "churn", "horizon_days": 30, "probability": 0.05, "low": 0.01, "high": 0.1, "base_rate": 0.02},
            {"outcome": "churn", "horizon_days": 90, "probability": p_churn, "low": 0.1, "high": 0.2, "base_rate": 0.04},
        ],
        "curve": [{"days": 30 * step, "survival": 1 - 0.01 * step} for step in range(1, 13)],
        "reasons": {"outcome": "churn", "horizon_days": 90, "base_value": -3.0, "drivers": drivers, "other": 0.1},
        "play": {"name": "activation", "why": "Sanna is silent", "expected_value": 120.5, "beaten": [], "assignment": None},
        "arr": 24000.0,
        "arr_at_risk": 3100.25,
        "renewal": {"date": "2026-06-01", "notice_by": "2026-03-03", "probability": 0.8},
        "contacts": [{"contact_id": "c1", "name": "Sanna"}],
        "disagreement": False,
        "leaving": False,
        "versions": {"model": "churn 3", "config": "9f2c", "data": "77ab"},
    }


@pytest.fixture(scope="session")
def write() -> Callable[..., Any]:
    """A function that does one whole run: accounts, scores, decisions, finish."""

    def whole_run(store: Store, records: list[dict], decisions: Sequence[Decision] = (), run_id: str | None = None) -> Any:
        store.save_accounts(Identity(row["account_id"], row["name"], row["csm"]) for row in records)
        run = store.begin_run("score", "2026-03-01", {"model": "churn 3"}, run_id=run_id)
        store.append_scores(run.run_id, records)
        store.append_decisions(run.run_id, decisions)
        return store.finish_run(run.run_id)

    return whole_run
