"""Real databases for the tests: SQLite files, and a PostgreSQL cluster of this session's own."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from serving.store import Store

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
