"""The pages over a store, without the rest of the service: whoever a cookie names has signed in."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from page_company import AS_OF, company
from starlette.requests import Request

from features.catalogue import catalog
from serving import web
from serving.api import problems
from serving.portfolio import Portfolio
from serving.principal import ROLE_SCOPES, Principal
from serving.settings import ServiceSettings
from serving.store import Store

CSRF = "f00d"
HTML = {"accept": "text/html"}
PEOPLE = {
    "csm": Principal("user", "u1", "Aino Aalto", ROLE_SCOPES["csm"], "csm"),
    "viewer": Principal("user", "u2", "Ville", ROLE_SCOPES["viewer"], "viewer", language="fi"),
    "own": Principal("user", "u3", "Bertta", ROLE_SCOPES["csm"], "csm", csm="Bertta"),
}


@dataclass
class Behind:
    """The part of the service that the pages need."""

    store: Store
    currency: str | None = "EUR"
    now: datetime = AS_OF + timedelta(hours=7)
    sign_in: bool = True
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    catalogue: Any = field(default_factory=catalog)
    audited: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.portfolio = Portfolio(self.store, self.currency)

    def clock(self) -> datetime:
        return self.now

    def audit(self, request: Request, action: str, target: str | None) -> None:
        self.audited.append((action, target))


class SignedIn:
    """Stands for the gate: the cookie `who` says who asks; without one it is `csm`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            principal = PEOPLE.get(Request(scope).cookies.get("who", "csm"))
            scope.setdefault("state", {}).update({"principal": principal} | ({"csrf": CSRF} if principal else {}))
        await self._app(scope, receive, send)


def page_app(behind: Behind) -> FastAPI:
    """The app."""
    app = FastAPI()
    app.state.service = behind
    problems.install(app)

    @app.get("/breaks")
    def breaks() -> None:
        raise RuntimeError("secret")

    web.install(app)
    app.add_middleware(SignedIn)
    return app


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve the app on a free port of this machine, for a browser; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """The company, for the tests of a module that change nothing."""
    with Store.open(tmp_path_factory.mktemp("pages") / "kunto.db") as store:
        yield Behind(company(store))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Behind]:
    """An empty store of one test's own."""
    with Store.open(tmp_path / "kunto.db") as store:
        yield Behind(store)


@pytest.fixture
def changing(mine: Behind) -> Behind:
    """The company, of one test's own."""
    company(mine.store)
    return mine


def client(behind: Behind, who: str = "csm", language: str = "en") -> TestClient:
    """A browser without JavaScript that follows no redirect."""
    cookies = {"who": who, "kunto_language": language}
    return TestClient(page_app(behind), headers=HTML, cookies=cookies, raise_server_exceptions=False, follow_redirects=False)


def address(account_id: str) -> str:
    """The address of an account's page."""
    return f"/accounts/{quote(account_id, safe='')}"


def text(html: str) -> str:
    """What a person reads of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("\N{NO-BREAK SPACE}", " ").split())
