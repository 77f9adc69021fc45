"""A real receiver of webhooks on 127.0.0.1, and a clock that tests set."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from serving.store.instants import now


class Clock:
    """A clock that moves when it is told to. It starts 150 s ago: signatures are good for 5 minutes either way."""

    def __init__(self) -> None:
        self.at = now() - timedelta(seconds=150)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class Receiver:
    """Verifies every request by the secret, answers the next of `answers` (then 200), and remembers what came."""

    url: str
    answers: list[int] = field(default_factory=list)
    secret: str = ""
    ids: list[str] = field(default_factory=list)
    hosts: list[str | None] = field(default_factory=list)
    verified: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: Event = field(default_factory=Event)
    #: Answers wait for it.
    go_on: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def answer(self, request: BaseHTTPRequestHandler) -> int:
        body = request.rfile.read(int(request.headers["content-length"]))
        with self.lock:
            self.paths.append(request.path)
            self.ids.append(request.headers["webhook-id"])
            self.hosts.append(request.headers["host"])
            status = self.answers.pop(0) if self.answers else 200
            try:
                self.verified.append(Webhook(self.secret).verify(body, dict(request.headers)))
            except WebhookVerificationError:
                status = 401
        self.came.set()
        self.go_on.wait(10)
        return status


@contextmanager
def receiving(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver that runs until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.answer(self)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{receiver.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, tls) as port:
        receiver = Receiver(f"{'https' if tls else 'http'}://{host}:{port}")
        receiver.go_on.set()
        yield receiver


class _Server(ThreadingHTTPServer):
    request_queue_size = 100

    def handle_error(self, *_: object) -> None:
        """A refused certificate, or a connection that is cut, is the client's to tell."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that runs until the end of the block."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
