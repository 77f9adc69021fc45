"""The whole server under load: the champion moves in the middle, and no request fails."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from mlflow import MlflowClient

from models.registry import CHAMPION
from serving.store import Store

CLIENTS = 32
FEATURES = {"days_to_renewal": 60.0, "seats": 20.0, "active_users_30d": 4.0, "outreach_unanswered_90d": 4.0}


@pytest.fixture
def server(demo, tmp_path):
    """A server process over a copy of the demo workspace whose churn model has a second version: address, key, registry."""
    path = tmp_path / "workspace"
    shutil.copytree(demo.path, path)
    with (path / "kunto.toml").open("a", encoding="utf-8") as config:
        config.write('\n[service]\nrate = "10000000/minute"\nmodel_poll_seconds = 0.5\n')
    registry = MlflowClient(tracking_uri=f"sqlite:///{path / 'mlflow.db'}")
    name = next(record["name"] for record in demo.ran["train"] if record["outcome"] == "churn")
    first = registry.get_model_version(name, "1")
    # where the files lie: by their name in the registry they would be looked up in whichever one MLflow was told last
    source = registry.get_model_version_download_uri(name, first.version)
    second = registry.create_model_version(name, source, first.run_id, tags=first.tags)
    with Store.open(f"sqlite:///{path / 'kunto.db'}") as store:
        key = store.access.create_key("soak", ["scores:read"])[1]
        account = next(iter(store.lines(store.portfolio_run().run_id))).account_id
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "server.log").open("wb")
    command = [sys.executable, "-m", "kunto", "serve", "-w", str(path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    try:
        yield f"http://127.0.0.1:{port}", key, account, registry, name, int(second.version), Path(log.name)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


async def _ready(session, address):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            async with session.get(f"{address}/readyz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)
    raise AssertionError("the server did not become ready")


async def _soak(address, key, account, seconds, move):
    headers = {"Authorization": f"Bearer {key}"}
    statuses, versions, failures = Counter(), Counter(), []

    stopped = asyncio.Event()

    async def client(session, number):
        while not stopped.is_set():
            if number % 2:
                asked = session.post(f"{address}/v1/score", json={"accounts": [{"features": FEATURES}]})
            else:
                asked = session.get(f"{address}/v1/accounts/{account}/scores")
            async with asked as answer:
                content = await answer.json()
                statuses[answer.status] += 1
                if answer.status != 200 or content.get("errors"):
                    failures.append(content)
                elif number % 2:
                    versions[content["items"][0]["versions"]["model"]] += 1

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        await _ready(session, address)
        clients = [asyncio.create_task(client(session, number)) for number in range(CLIENTS)]
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(move)
        await asyncio.sleep(seconds / 2)
        latest = time.monotonic() + 60  # a busy machine loads slowly
        while len(versions) < 2 and time.monotonic() < latest:
            await asyncio.sleep(0.2)
        stopped.set()
        await asyncio.gather(*clients)  # a connection that is refused or reset raises here
    return statuses, versions, failures


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.trust)])
def test_no_request_fails_while_the_champion_moves(server, seconds):
    address, key, account, registry, name, second, log = server
    move = lambda: registry.set_registered_model_alias(name, CHAMPION, str(second))  # noqa: E731
    statuses, versions, failures = asyncio.run(_soak(address, key, account, seconds, move))
    assert not failures, (failures[:3], log.read_text(encoding="utf-8")[-2000:])
    assert set(statuses) == {200}
    served = {part for wording in versions for part in wording.split(", ") if part.startswith(f"{name}/")}
    assert served == {f"{name}/1", f"{name}/{second}"}, versions
    assert sum(statuses.values()) > CLIENTS
