"""Signing in and out over HTTP: cookies, forms of other sites, where people land, links, what the audit log says."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import sign_in_app
from sign_in_app import NOON, SAME_ORIGIN, Browser, new_name

from serving.settings import OidcSettings, ServiceSettings
from serving.sign_in import local_path
from serving.store import Store
from serving.store.access_sessions import FAILURES, WINDOW

quick_hashes = sign_in_app.quick_hashes  # autouse
store = sign_in_app.shared_store
RIGHT, WRONG = "correct horse battery", "wrong horse battery"


@pytest.fixture
def maija(store: Store) -> Any:
    return store.access.add_user(new_name(), "csm", password=RIGHT)


def form(user: Any, password: str = RIGHT, next: str = "") -> dict[str, str]:
    return {"name": getattr(user, "name", user), "password": password, "next": next}


def landed(response: Any) -> dict[str, str]:
    """Where a redirect leads, and what it says there."""
    assert response.status_code == 303, response.text
    assert response.headers["cache-control"] == "no-store"
    place = urlsplit(response.headers["location"])
    assert not place.scheme
    assert not place.netloc
    return {"": place.path} | {name: values[0] for name, values in parse_qs(place.query).items()}


def test_signing_in_and_out(store, maija):
    client = Browser(store)
    assert client.who is None
    response = client.post("/sign-in", data=form(maija, next="/accounts/a1?days=30"))
    assert landed(response) == {"": "/accounts/a1", "days": "30"}
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("kunto_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert client.who == maija.user_id
    token = client.cookies["kunto_session"]
    response = client.post("/sign-out")
    assert landed(response) == {"": "/sign-in"}
    assert "kunto_session" not in client.cookies
    assert store.access.principal_of_session(token, NOON) is None
    assert landed(client.post("/sign-out")) == {"": "/sign-in"}, "twice does no harm"
    entries = [(entry.action, entry.principal_id, entry.outcome) for entry in store.access.audits(limit=2)]
    assert entries == [("sign_out", maija.user_id, "done"), ("sign_in.password", maija.user_id, "done")]


def test_over_https_the_cookie_is_bound_to_the_host(store, maija):
    settings = ServiceSettings(base_url="https://kunto.example", session_hours=0.5)
    client = Browser(store, settings)
    response = client.post("/sign-in", data=form(maija))
    parts = response.headers["set-cookie"].split("; ")
    assert parts[0].startswith("__Host-kunto_session=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=1800"} <= set(parts)
    assert not any(part.startswith("Domain") for part in parts)
    assert client.who == maija.user_id
    token = client.cookies["__Host-kunto_session"]
    client.cookies.clear()
    client.cookies["kunto_session"] = token
    assert client.who is None, "a cookie that a neighbouring site can set is none"


@pytest.mark.parametrize(
    "given",
    [
        *({"password": WRONG}, {"name": "nobody"}, {"password": ""}, {"name": "", "password": ""}, {"name": "a\0b"}),
        *({"password": "\ud83d" * 3}, {"name": "\ud83d"}),
    ],
)
def test_a_wrong_password_and_an_unknown_name_look_alike(store, maija, given):
    client = Browser(store)
    response = client.post(
        "/sign-in",
        content=urlencode({name: value.encode(errors="surrogatepass") for name, value in (form(maija) | given).items()}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert landed(response) == {"": "/sign-in", "problem": "wrong"}
    assert "set-cookie" not in response.headers
    [entry] = store.access.audits(limit=1)
    aimed_at = None if "name" in given else f"user:{maija.user_id}"
    assert (entry.principal_kind, entry.object, entry.outcome) == ("anonymous", aimed_at, "wrong")


def test_whoever_guesses_is_told_how_long_to_wait(store, maija):
    client = Browser(store)
    before = len(store.access.audits(limit=1000))
    for _ in range(FAILURES):
        assert landed(client.post("/sign-in", data=form(maija, WRONG, next="/x")))["problem"] == "wrong"
    response = client.post("/sign-in", data=form(maija, next="/x"))
    assert landed(response) == {"": "/sign-in", "problem": "throttled", "wait": "900", "next": "/x"}
    client.clock.at = NOON + WINDOW
    assert landed(client.post("/sign-in", data=form(maija))) == {"": "/"}
    assert len(store.access.audits(limit=1000)) == before + FAILURES + 1, "what is held up does not fill the log"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {},
        {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_a_form_of_another_site_is_refused(store, maija, headers, path):
    token = store.access.sign_in(maija.name, RIGHT, NOON, 1)
    client = Browser(store, headers=headers)
    client.cookies["kunto_session"] = token
    response = client.post(path, data=form(maija))
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in response.headers
    assert store.access.principal_of_session(token, NOON)


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("", SAME_ORIGIN),
        ("", {"origin": "http://testserver"}),
        ("https://kunto.example", {"origin": "https://kunto.example", "host": "10.0.0.7:8000"}),
    ],
)
def test_a_form_of_our_own_is_taken(store, maija, base_url, headers):
    client = Browser(store, ServiceSettings(base_url=base_url), headers)
    assert landed(client.post("/sign-in", data=form(maija))) == {"": "/"}


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
        ),
        *("javascript:alert(1)", "evil", "", "/\x00", "/\u2028", "/a\ud800"),
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(wanted):
    assert local_path(wanted) == "/"


def test_a_link_signs_in_once(store):
    owner = store.access.add_user(new_name(), "admin")
    link = store.access.create_link(owner.name, 15, at=NOON)
    client = Browser(store, headers={})
    assert landed(client.get("/welcome", params={"token": link})) == {"": "/"}
    assert client.who == owner.user_id
    for given in ({"token": link}, {"token": "x"}, {}):
        assert landed(client.get("/welcome", params=given)) == {"": "/sign-in", "problem": "link"}
    assert client.who == owner.user_id, "a link that is used takes no session away"
    assert [entry.outcome for entry in store.access.audits(limit=4)] == ["link", "link", "link", "done"]


def test_a_session_ends_by_the_clock_and_by_disabling(store, maija):
    client = Browser(store)
    client.post("/sign-in", data=form(maija))
    client.clock.at = NOON + timedelta(hours=12)
    assert client.who is None
    client.post("/sign-in", data=form(maija))
    assert client.who == maija.user_id
    store.access.disable_user(maija.user_id)
    client.clock.at += timedelta(seconds=5)
    assert client.who is None


def test_without_an_identity_provider_its_addresses_say_so(store):
    client = Browser(store)
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback"):
        response = client.get(path)
        assert (response.status_code, response.json()["type"]) == (404, "urn:kunto:problem:no-identity-provider")


OIDC = {"issuer": "https://id.example", "client_id": "kunto"}


@pytest.mark.parametrize(
    ("changed", "secret", "message"),
    [
        ({"issuer": "http://id.example"}, "s", r"service.oidc.issuer 'http://id.example' must begin with https://"),
        ({"scope": "email"}, "s", r"service.oidc.scope 'email' must hold openid"),
        ({}, "", r"variable KUNTO_OIDC_CLIENT_SECRET \(service.oidc.client_secret_variable\) is not set"),
    ],
)
def test_an_identity_provider_that_cannot_work_is_told_at_start(store, monkeypatch, changed, secret, message):
    monkeypatch.setenv("KUNTO_OIDC_CLIENT_SECRET", secret)
    settings = ServiceSettings(oidc=OidcSettings(**(OIDC | changed)))
    with pytest.raises(ValueError, match=message):
        Browser(store, settings)


def test_what_the_clock_says_is_what_is_asked(store, maija, monkeypatch):
    asked: list[datetime] = []
    sign_in: Callable[..., str] = store.access.sign_in
    monkeypatch.setattr(
        store.access, "sign_in", lambda name, password, at, hours: asked.append(at) or sign_in(name, password, at, hours)
    )
    client = Browser(store)
    client.post("/sign-in", data=form(maija))
    assert asked == [NOON]
