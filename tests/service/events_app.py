"""The smallest app around the events' route, in this process or, by `python events_app.py FD`, in ones that can be killed."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx
import uvicorn
from fastapi import FastAPI, Request

from serving import receiving
from serving.api import problems
from serving.api.routes.events import router
from serving.principal import Principal
from serving.settings import ServiceSettings
from serving.store import Store, intake

SMALL_BATCH = 200


SENDER = Principal("key", "1", "a system that sends events", frozenset({"events:write"}))


def create(store: Store, settings: ServiceSettings | None = None, sender: Principal | None = SENDER) -> FastAPI:
    """The app on an open store; whoever asks is the sender."""
    app = FastAPI()

    @app.middleware("http")
    async def signed_in(request: Request, go_on: Any) -> Any:
        request.state.principal = sender
        return await go_on(request)

    app.state.service = SimpleNamespace(store=store, settings=settings or ServiceSettings())
    app.include_router(router)
    problems.install(app)
    return app


class Client:
    """Calls an app in this process, each time on an event loop of its own, so from any thread."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[Any, Any] | None = None) -> httpx.Response:
        return asyncio.run(self._request(method, path, body, headers))

    async def _request(self, method: str, path: str, body: bytes, headers: Mapping[Any, Any] | None) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://kunto") as client:
            return await client.request(method, path, content=body, headers=headers)


def serve(descriptor: int, url: str) -> None:
    """Serve on an inherited socket; a request takes several transactions, and a dead one's key is soon free."""
    receiving.BATCH, intake.LEASE = SMALL_BATCH, timedelta(seconds=2)
    with Store.open(url) as store:
        server = uvicorn.Server(uvicorn.Config(create(store), log_level="warning", access_log=False))
        server.run(sockets=[socket.socket(fileno=descriptor)])


def main(descriptor: int) -> None:
    """Serve each database named on standard input in a process of its own until that ends; print its id, and how it ended.

    Importing everything takes seconds, and is done once for all of them.
    """
    for url in sys.stdin:
        child = os.fork()
        if not child:
            serve(descriptor, url.strip())
            os._exit(0)
        print(child, flush=True)  # noqa: T201
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
