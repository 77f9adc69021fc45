"""A small app with the sign-in routes alone, and a browser of it that follows no redirect."""

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from serving import sign_in
from serving.api import problems
from serving.credentials import Sessions
from serving.settings import ServiceSettings
from serving.store import Store, passwords

NOON = datetime(2126, 3, 1, 12)
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def shared_store(new_url: Callable[[], str]) -> Iterator[Store]:
    """One store for a module's tests, who keep apart by names of their own: making one costs more than a test."""
    with Store.open(new_url()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passwords whose hashes cost little; what they cost in earnest is a test of its own."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))
    passwords._of_nobody.cache_clear()
    yield
    passwords._of_nobody.cache_clear()


def new_name() -> str:
    """A name that nobody has had."""
    return f"Maija.{uuid.uuid4().hex}@acme.example"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


class Browser:
    """A browser with its cookies at an app of its own, whose `GET /who` tells the user's id."""

    def __init__(self, store: Store, settings: ServiceSettings | None = None, headers: Mapping[str, str] = SAME_ORIGIN) -> None:
        settings, self.clock = settings or ServiceSettings(), Clock()
        self.app = _app(store, settings, self.clock)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=settings.base_url or "http://testserver", headers=dict(headers)
        )
        self.cookies = self._client.cookies

    def get(self, url: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._client.get(url, **given))

    def post(self, url: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._client.post(url, **given))

    @property
    def who(self) -> str | None:
        """The id of whoever is signed in."""
        answered: str | None = self.get("/who").json()
        return answered


def _app(store: Store, settings: ServiceSettings, clock: Clock) -> FastAPI:
    app, sessions = FastAPI(), Sessions(store.access, clock)
    app.state.service = SimpleNamespace(store=store, settings=settings, clock=clock, sessions=sessions)
    problems.install(app)
    app.include_router(sign_in.router)
    sign_in.install(app, settings)

    @app.get("/who")
    def who(request: Request) -> str | None:
        token = sign_in.session_token(request)
        person = sessions.principal(token) if token else None
        return person.id if person else None

    return app
