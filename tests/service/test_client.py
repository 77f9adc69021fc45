"""A typed client, generated from the OpenAPI document as `make client` does, is used as its users would."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_app import serving

TOOLS = Path(sys.executable).parent
PROGRAM = Path(__file__).parents[2] / "docs" / "typed_client.py"


@pytest.fixture(scope="module")
def folder(served: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the generated package lies."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(served.app.openapi()), encoding="utf-8")
    command = [TOOLS / "openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none"]
    found = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}  # it formats what it made with ruff
    made = subprocess.run(
        [*command, "--output-path", "kunto_client"], cwd=folder, env=found, capture_output=True, text=True, encoding="utf-8"
    )
    assert made.returncode == 0, made.stdout + made.stderr
    # NDJSON, which is streamed, is all that it leaves out
    assert made.stderr.count("WARNING") == made.stderr.count("Unsupported content type application/x-ndjson") == 1, made.stderr
    return folder


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[Any]:
    """The page's program that uses the client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.syspath_prepend(str(PROGRAM.parent))
        yield importlib.import_module(PROGRAM.stem)


@pytest.fixture(scope="module")
def where(served: Any) -> Iterator[dict[str, Any]]:
    """A server that runs, and a key of it."""
    scopes = ("scores:read", "plays:write", "feedback:write", "events:write")
    key = served.as_key(*scopes)["Authorization"].removeprefix("Bearer ")
    with serving(served.app) as address:
        yield {"base_url": address, "token": key, "raise_on_unexpected_status": True}


@pytest.fixture
def client(where: dict[str, Any], program: Any) -> Iterator[Any]:
    with program.AuthenticatedClient(**where) as made:
        yield made


def test_accounts_page_by_page(program: Any, client: Any, served: Any) -> None:
    found = [account.account_id for account in program.portfolio(client, limit=13)]
    assert len(found) == len(set(found)) == len(served.service.portfolio.at().lines)
    some = list(program.portfolio(client, program.Band.HEALTHY))
    assert {account.health.band for account in some} == {program.Band.HEALTHY}
    assert all(account.as_of.utcoffset() is not None for account in some)
    assert program.bands(client, 2).keys() < set(found)


def test_scores(program: Any, client: Any, served: Any) -> None:
    item = program.score(client, seats=20, active_users_30d=4, days_to_renewal=60)
    assert item.predictions
    assert item.reasons.drivers
    with pytest.raises(program.Refused, match="did you mean 'seats'"):
        program.score(client, seat=20)
    account_id = next(line.account_id for line in served.service.portfolio.at().lines.values() if not line.leaving)
    assert program.difference(client, account_id, seats=1)


def test_work_and_feedback(program: Any, client: Any) -> None:
    item = program.best_work(client, 8)[0]
    closed = program.done(client, item)
    assert (closed.state, closed.outcome) == (program.PlayState.CLOSED, program.PlayOutcome.GOAL_REACHED)
    assert closed.steps[0].due.utcoffset() is not None
    driver = item.reasons.drivers[0].driver
    kept = program.marked(client, item.account_id, driver).feedback
    assert (kept.driver, kept.verdict) == (driver, program.Verdict.KNOWN)
    found = program.picture(client, item.account_id)
    assert [play.play_id for play in found.plays] == [closed.play_id]
    assert kept in found.feedback


def test_events(program: Any, client: Any, served: Any) -> None:
    account_id = next(line.account_id for line in served.service.portfolio.at().lines.values() if not line.leaving)
    answers = [program.told(client, account_id, "client-1") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].accepted == 1


def test_problems_are_told_also_to_those_who_wait(program: Any, client: Any, where: dict[str, Any]) -> None:
    async def asked() -> Any:
        async with program.AuthenticatedClient(**where) as waiting:
            return await program.picture_later(waiting, "nobody")

    with pytest.raises(program.Refused, match=r"404 Unknown account: account 'nobody'"):
        program.picture(client, "nobody")
    with pytest.raises(program.Refused, match=r"404 Unknown account: account 'nobody'"):
        asyncio.run(asked())


def test_the_program_is_typed(folder: Path) -> None:
    """Strictly: a name or a type of the document that makes no sense in Python would show here."""
    command = [TOOLS / "mypy", "--strict", "--follow-imports=silent", "--no-incremental", "--config-file="]
    found = os.environ | {"MYPYPATH": str(folder)}
    checked = subprocess.run([*command, PROGRAM], cwd=folder, env=found, capture_output=True, text=True, encoding="utf-8")
    assert checked.returncode == 0, checked.stdout + checked.stderr
