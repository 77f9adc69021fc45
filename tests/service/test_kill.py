"""kill -9 during intake: each acknowledged event is there once, and sending the unanswered requests again completes the rest."""

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from events_app import SMALL_BATCH

from serving.store import Store

APP = Path(__file__).with_name("events_app.py")
CLIENTS, REQUESTS = 4, 6
#: Several transactions each, so that a kill falls between two of a request.
EVENTS = 5 * SMALL_BATCH // 2
PATIENCE_S = 60


@dataclass
class Servers:
    """Servers, one at a time, on one listening socket: who calls while there is none waits in its queue."""

    port: int
    launcher: subprocess.Popen[str]
    running: int = 0

    def start(self, url: str) -> None:
        assert self.launcher.stdin is not None
        self.launcher.stdin.write(f"{url}\n")
        self.launcher.stdin.flush()
        self.running = self._told()

    def kill(self) -> None:
        os.kill(self.running, signal.SIGKILL)
        self.running = 0
        assert self._told() == -signal.SIGKILL

    def _told(self) -> int:
        assert self.launcher.stdout is not None
        return int(self.launcher.stdout.readline())


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        command = [sys.executable, str(APP), str(listener.fileno())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, pass_fds=[listener.fileno()], text=True, **pipes) as launcher:
            found = Servers(listener.getsockname()[1], launcher)
            try:
                yield found
            finally:
                if found.running:
                    found.kill()


@dataclass
class Sender:
    """One client: its bodies in turn, each until it is acknowledged."""

    name: str
    port: int
    answers: list[dict[str, Any]] = field(default_factory=list)
    failures: int = 0

    def ids(self, request: int) -> list[str]:
        return [f"{self.name}-{request}-{k}" for k in range(EVENTS)]

    def run(self) -> None:
        for request in range(REQUESTS):
            event = {"table": "usage", "account_id": "A1", "feature": "login", "occurred_at": "2026-03-01T08:00:00Z"}
            body = b"".join(json.dumps({"event_id": each, **event}).encode() + b"\n" for each in self.ids(request))
            self.answers.append(self.until_answered(body, f"{self.name}-{request}"))

    def until_answered(self, body: bytes, key: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-ndjson"}
        if self.name == "0":  # one of them uses keys: its retry waits until the killed request's is free again
            headers["Idempotency-Key"] = key
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
                    connection.request("POST", "/v1/events", body, headers)
                    response = connection.getresponse()
                    content = response.read()
            except (OSError, http.client.HTTPException):
                self.failures += 1
                continue
            if response.status == 200:
                return json.loads(content)
            assert response.status == 409, content
            time.sleep(0.2)
        raise TimeoutError(f"request {key} was not answered within {PATIENCE_S} s")


def counted(url: str) -> Counter[str]:
    with Store.open(url) as store:
        return Counter(row.event_id for row in itertools.chain.from_iterable(store.intake.arrived()))


def test_acknowledged_events_survive_kill_9_and_a_retry_completes_the_rest(new_url: Callable[[], str], servers: Servers) -> None:
    url = new_url()
    servers.start(url)
    senders = [Sender(str(k), servers.port) for k in range(CLIENTS)]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(len(sender.answers) for sender in senders) >= CLIENTS)
    acknowledged = [each for sender in senders for request in range(len(sender.answers)) for each in sender.ids(request)]
    servers.kill()
    found = counted(url)
    assert all(found[each] == 1 for each in acknowledged)
    assert max(found.values()) == 1
    servers.start(url)
    for thread in threads:
        thread.join(PATIENCE_S)
    servers.kill()
    assert [len(sender.answers) for sender in senders] == [REQUESTS] * CLIENTS
    assert sum(sender.failures for sender in senders) > 0
    everything = {each for sender in senders for request in range(REQUESTS) for each in sender.ids(request)}
    assert counted(url) == dict.fromkeys(everything, 1)
    for sender in senders:
        for answer in sender.answers:
            assert answer["accepted"] + answer["duplicates"] == EVENTS


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the server did not answer in time")
        time.sleep(0.005)
