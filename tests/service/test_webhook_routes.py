"""`/v1/webhooks` over a store of its own; who may come in at all is tested with every other route."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serving.api import problems
from serving.api.routes import webhooks
from serving.principal import ROLE_SCOPES, Principal, Role
from serving.settings import ServiceSettings
from serving.store import Identity, Store
from serving.store.instants import now
from serving.store.outbox_records import BACK_OFF

URL = "https://93.184.215.14/hook"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "kunto.db") as opened:
        yield opened


class Api:
    """Calls the webhook routes alone, as a person of a role."""

    def __init__(self, store: Store, role: Role, settings: ServiceSettings) -> None:
        app = FastAPI()
        problems.install(app)
        app.include_router(webhooks.router)
        app.state.service = SimpleNamespace(store=store, settings=settings, clock=now)
        person = Principal("user", "u1", "Maija", ROLE_SCOPES[role], role)

        async def as_person(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": {"principal": person}}, receive, send)

        self._transport = httpx.ASGITransport(as_person)

    def call(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        async def called() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://kunto") as client:
                return await client.request(method, f"/v1/webhooks{path}", **options)

        return asyncio.run(called())


@pytest.fixture
def client(files: Store) -> Callable[..., Api]:
    """A function that makes an Api."""
    return lambda role="admin", **settings: Api(files, role, ServiceSettings(**settings))


def die(store: Store, number: int) -> None:
    """Let one event become a dead letter, by its last attempt failing."""
    store.outbox.announce("play.started", {"number": number})
    at = datetime(2100, 1, 1, number)
    [delivery] = store.outbox.claim(at)
    for _ in BACK_OFF:
        store.outbox.failed(delivery, at, "answered 500")
        [delivery] = store.outbox.claim(at := datetime(at.year + 1, 1, 1, number))
    store.outbox.failed(delivery, at, "answered 500")


def test_a_webhook_is_made_listed_and_removed(client):
    api = client()
    made = api.call("POST", json={"url": URL, "events": ["play.closed", "play.started"]})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    record = made.json()
    assert record.pop("secret").startswith("whsec_")
    assert (record["url"], record["events"], record["created_by"]) == (URL, ["play.started", "play.closed"], "user:u1")
    listed = api.call("GET")
    assert listed.json() == {"items": [record], "next_cursor": None}
    assert api.call("GET", headers={"if-none-match": listed.headers["etag"]}).status_code == 304
    assert api.call("DELETE", f"/{record['webhook_id']}").status_code == 204
    assert api.call("GET").json()["items"] == []
    gone = api.call("DELETE", f"/{record['webhook_id']}")
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")


def test_a_private_address_is_refused_unless_allowed(client, files):
    body = {"url": "http://127.0.0.1:9/hook", "events": ["play.closed"]}
    refused = client().call("POST", json={**body, "url": "https://127.0.0.1:9/hook"})
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:kunto:problem:address-refused"
    assert "127.0.0.1 is not a public address" in refused.json()["detail"]
    assert "webhooks_to_private_addresses = true" in refused.json()["detail"]
    assert files.outbox.webhooks() == []
    assert client(webhooks_to_private_addresses=True).call("POST", json=body).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [{"events": []}, {"events": ["play.begun"]}, {"url": ""}, {"url": "x" * 2001}, {"secret": "whsec_mine"}, {"url": "a\x00b"}],
)
def test_a_body_that_is_wrong_is_refused(client, files, wrong):
    answer = client().call("POST", json={"url": URL, "events": ["play.closed"], **wrong})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert files.outbox.webhooks() == []


@pytest.mark.parametrize("role", ["viewer", "csm"])
def test_only_an_administrator_comes_in(client, files, role):
    webhook, _ = files.outbox.subscribe(URL, ["play.started"], created_by="key:k1")
    api = client(role)
    answers = [
        api.call("GET"),
        api.call("POST", json={"url": URL, "events": ["play.closed"]}),
        api.call("DELETE", f"/{webhook.webhook_id}"),
        api.call("GET", "/dead-letters"),
        api.call("POST", f"/deliveries/msg_{'0' * 32}/retry"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert files.outbox.webhooks() == [webhook]


def test_dead_letters_are_paged_and_one_is_sent_again(client, files):
    files.save_accounts([Identity("a1")])
    files.outbox.subscribe(URL, ["play.started"], created_by="key:k1")
    for number in range(3):
        die(files, number)
    api = client()
    first = api.call("GET", "/dead-letters", params={"limit": 2}).json()
    second = api.call("GET", "/dead-letters", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    letters = first["items"] + second["items"]
    assert [letter["payload"]["data"]["number"] for letter in letters] == [2, 1, 0]
    assert second["next_cursor"] is None
    assert (letters[0]["attempts"], letters[0]["last_error"], letters[0]["url"]) == (8, "answered 500", URL)

    retry = f"/deliveries/{letters[0]['delivery_id']}/retry"
    assert api.call("POST", retry).status_code == 204
    assert [claimed.delivery_id for claimed in files.outbox.claim(now())] == [letters[0]["delivery_id"]]
    assert api.call("POST", retry).status_code == 409
    assert api.call("POST", f"/deliveries/msg_{'0' * 32}/retry").status_code == 404
    assert len(api.call("GET", "/dead-letters").json()["items"]) == 2


@pytest.mark.parametrize(
    "position", [["2026-03-01", "msg_\x00"], ["never", f"msg_{'0' * 32}"], [None, None], [1, 2], ["2026-03-01"]]
)
def test_a_cursor_of_somewhere_else_is_refused(client, position):
    answer = client().call("GET", "/dead-letters", params={"cursor": webhooks.encode(position)})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:kunto:problem:invalid-cursor"
