"""Signing in with an identity provider: the whole flow against a real one, a server of its own on this machine."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import sign_in_app
from sign_in_app import Browser, new_name

from serving.credentials import LIFE
from serving.session_cookie import is_https
from serving.settings import OidcSettings, ServiceSettings
from serving.store import Store
from serving.store.access_records import User

quick_hashes = sign_in_app.quick_hashes  # autouse
store = sign_in_app.shared_store
PASSWORD = "correct horse battery"
SECRET = "s3cret of the client"
#: A person's browser at the provider; plain HTTP on this machine, so no certificates are read.
_HTTP = httpx.Client(verify=False, timeout=30)
UNKNOWN = {"problem": "oidc", "reason": "unknown"}
FAILED = {"problem": "oidc", "reason": "failed"}
Query = dict[str, str]
Tamper = Callable[[Query], Query]


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    """The address of an identity provider, which runs as a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true"]
    environment = os.environ | {"AUTHLIB_INSECURE_TRANSPORT": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with _HTTP, subprocess.Popen(command, env=environment, **quiet) as provider:
        try:
            address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
            while not _answers(address):
                assert provider.poll() is None, "the identity provider ended"
                assert time.monotonic() < deadline, "the identity provider does not answer"
                time.sleep(0.05)
            yield address
        finally:
            provider.terminate()


def _answers(address: str) -> bool:
    try:
        return _HTTP.get(f"{address}/.well-known/openid-configuration").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUNTO_OIDC_CLIENT_SECRET", SECRET)


@pytest.fixture
def email() -> str:
    return new_name()


def called(store: Store, name: str) -> list[User]:
    """Who is known under a name."""
    return [user for user in store.access.users() if user.name == name]


class Person(Browser):
    """Somebody whom the provider knows as `subject`, with a browser at Kunto."""

    def __init__(self, store: Store, issuer: str, new_users: str = "", base_url: str = "", **claims: Any) -> None:
        self.store, self.issuer, self.subject = store, issuer, uuid.uuid4().hex
        oidc = OidcSettings(issuer=issuer, client_id="kunto", new_users=new_users)
        super().__init__(store, ServiceSettings(oidc=oidc, base_url=base_url), headers={"sec-fetch-site": "cross-site"})
        self.claim(**claims)

    def claim(self, **claims: Any) -> None:
        """What the provider says of them from now on."""
        _HTTP.put(f"{self.issuer}/users/{self.subject}", json=claims).raise_for_status()

    def start(self, wanted: str = "/accounts/a1") -> tuple[str, Query]:
        """Where Kunto sends them: the address and its query."""
        response = self.get("/sign-in/oidc", params={"next": wanted})
        assert response.status_code == 302, response.text
        return _parts(response)

    def agree(self, address: str, query: Query) -> Query:
        """Sign in at the provider, and return the query with which it sends them back."""
        response = _HTTP.post(f"{address}?{urlencode(query)}", data={"sub": self.subject})
        assert response.status_code == 302, response.text
        back, answer = _parts(response)
        assert urlsplit(back).path == "/sign-in/oidc/callback"
        return answer

    def finish(self, answer: Query) -> Query:
        """Come back to Kunto, and return where that leads."""
        response = self.get("/sign-in/oidc/callback", params=answer)
        assert response.status_code == 303, response.text
        place, query = _parts(response)
        return query | {"": place}

    def sign_in(self, *, going: Tamper = dict, coming: Tamper = dict) -> Query:
        """The whole way, what is sent changed on it or not; return where it leads."""
        address, query = self.start()
        return self.finish(coming(self.agree(address, going(query))))

    def refused(self, problem: Query, **tampered: Tamper) -> None:
        """Assert that the whole way leads back to the sign-in page, with nobody signed in."""
        assert self.sign_in(**tampered) == problem | {"": "/sign-in", "next": "/accounts/a1"}
        assert self.who is None


def _parts(response: httpx.Response) -> tuple[str, Query]:
    address, _, query = response.headers["location"].partition("?")
    return address, {name: values[0] for name, values in parse_qs(query).items()}


def test_the_request_has_state_nonce_and_a_code_challenge(store, issuer):
    address, query = Person(store, issuer).start()
    assert address == f"{issuer}/oauth2/authorize"
    assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", "kunto", "S256")
    assert query["redirect_uri"] == "http://testserver/sign-in/oidc/callback"
    assert {"openid", "email"} <= set(query["scope"].split())
    _, again = Person(store, issuer).start()
    for drawn in ("state", "nonce", "code_challenge"):
        assert len(query[drawn]) >= 20
        assert query[drawn] != again[drawn]


@pytest.mark.parametrize("base_url", ["", "https://kunto.example"])
def test_a_verified_email_finds_its_user_once_and_binds_the_identity(store, issuer, email, base_url):
    user = store.access.add_user(email, "csm", password=PASSWORD)
    maija = Person(store, issuer, base_url=base_url, email=email.upper(), email_verified=True)
    assert maija.sign_in() == {"": "/accounts/a1"}
    assert maija.who == user.user_id
    prefix = "__Host-" if is_https(base_url) else ""
    assert set(maija.cookies) == {f"{prefix}kunto_session"}, "the state of the flow is gone"
    bound = store.access.user(user.user_id)
    assert (bound.issuer, bound.subject) == (issuer, maija.subject)
    assert [(entry.action, entry.principal_id) for entry in store.access.audits(limit=1)] == [("sign_in.oidc", user.user_id)]
    maija.claim(email="maija@new.example", email_verified=False)
    assert maija.sign_in() == {"": "/accounts/a1"}, "the identity counts, no longer the address"
    assert maija.who == user.user_id
    heir = Person(store, issuer, base_url=base_url, email=email, email_verified=True)
    heir.refused(UNKNOWN)


@pytest.mark.parametrize("verified", [{"email_verified": False}, {}, {"email_verified": "true"}, {"email_verified": 1}])
@pytest.mark.parametrize("new_users", ["", "viewer"])
def test_an_unverified_email_is_nobodys(store, issuer, email, verified, new_users):
    user = store.access.add_user(email, "admin", password=PASSWORD)
    stranger = Person(store, issuer, new_users, email=email, **verified)
    if new_users:
        assert stranger.sign_in() == {"": "/accounts/a1"}
        assert stranger.who != user.user_id
        assert store.access.user(stranger.who or "").name == stranger.subject
    else:
        stranger.refused(UNKNOWN)
    assert store.access.user(user.user_id).issuer is None


def test_a_person_whom_nobody_added_is_refused_or_comes_in_as_set(store, issuer, email):
    claims = {"email": email, "email_verified": True}
    Person(store, issuer, **claims).refused(UNKNOWN)
    assert called(store, email) == []
    assert store.access.audits(limit=1)[0].outcome == "unknown"
    newcomer = Person(store, issuer, "viewer", **claims)
    for _ in range(2):
        assert newcomer.sign_in() == {"": "/accounts/a1"}
    [user] = called(store, email)
    assert (user.user_id, user.name, user.role, user.has_password) == (newcomer.who, email, "viewer", False)
    Person(store, issuer, "viewer", **claims).refused(UNKNOWN)


def test_a_disabled_person_is_refused_and_not_added_anew(store, issuer, email):
    newcomer = Person(store, issuer, "viewer", email=email, email_verified=True)
    newcomer.sign_in()
    user = store.access.disable_user(newcomer.who or "")
    newcomer.clock.at += LIFE  # a worker believes a session for so long
    newcomer.refused(UNKNOWN)
    assert called(store, email) == [user]


def test_a_provider_may_name_the_email_at_its_userinfo_endpoint_alone(store, issuer, email, monkeypatch):
    user = store.access.add_user(email, "csm")
    person = Person(store, issuer)
    person.refused(UNKNOWN)
    said = {"email": email, "email_verified": True}

    async def userinfo(token: Any) -> dict[str, Any]:
        return said

    monkeypatch.setattr(person.app.state.oidc._client, "userinfo", userinfo)
    person.refused(FAILED)
    said["sub"] = "another"
    person.refused(FAILED)
    assert called(store, email) == [user]
    said["sub"] = person.subject
    assert person.sign_in() == {"": "/accounts/a1"}
    assert person.who == user.user_id


@pytest.mark.parametrize(
    "tampered",
    [
        {"going": lambda query: query | {"nonce": "another"}},
        {"coming": lambda query: query | {"state": "another"}},
        {"coming": lambda query: {"code": query["code"]}},
        {"coming": lambda query: query | {"code": "another"}},
        {"coming": lambda query: {"state": query["state"]}},
        {"coming": lambda query: {"error": "access_denied", "state": query["state"]}},
        {"coming": lambda query: {}},
    ],
)
def test_an_answer_that_does_not_fit_the_question_is_refused(store, issuer, email, tampered):
    store.access.add_user(email, "csm")
    person = Person(store, issuer, email=email, email_verified=True)
    person.refused(FAILED, **tampered)
    assert called(store, email)[0].issuer is None
    assert person.sign_in() == {"": "/accounts/a1"}, "untampered it would have been taken"


def test_an_answer_counts_in_the_browser_that_asked_and_once(store, issuer, email):
    store.access.add_user(email, "csm")
    person = Person(store, issuer, email=email, email_verified=True)
    answer = person.agree(*person.start())
    other = Person(store, issuer)
    assert other.finish(answer) == FAILED | {"": "/sign-in"}
    state = {name: value for name, value in person.cookies.items() if "oidc" in name}
    assert state
    assert person.finish(answer) == {"": "/accounts/a1"}
    person.cookies.clear()
    person.cookies.update(state)
    assert person.finish(answer) == FAILED | {"": "/sign-in", "next": "/accounts/a1"}, "the code is used up"
    forged = Person(store, issuer)
    forged.cookies.update({name: "x" + value[1:] for name, value in state.items()})
    assert forged.finish(answer) == FAILED | {"": "/sign-in"}


def test_a_token_for_another_client_or_of_another_issuer_is_refused(store, issuer, email):
    person = Person(store, issuer, "viewer", email=email, email_verified=True)
    provider = person.app.state.oidc
    for name, own in (("_client_id", "kunto"), ("_issuer", issuer)):
        answer = person.agree(*person.start())
        setattr(provider, name, "https://other.example")
        assert person.finish(answer)["reason"] == "failed"
        setattr(provider, name, own)
    assert called(store, email) == []
    assert person.sign_in() == {"": "/accounts/a1"}


def test_nobody_is_sent_elsewhere_after_the_provider(store, issuer, email):
    person = Person(store, issuer, "viewer", email=email, email_verified=True)
    assert person.finish(person.agree(*person.start("https://evil.example/"))) == {"": "/"}


def test_a_provider_that_does_not_answer_leads_back(store):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        oidc = OidcSettings(issuer=f"http://127.0.0.1:{closed.getsockname()[1]}", client_id="kunto")
        response = Browser(store, ServiceSettings(oidc=oidc)).get("/sign-in/oidc", params={"next": "/x"})
    assert response.status_code == 303
    assert _parts(response) == ("/sign-in", FAILED | {"next": "/x"})


def test_workers_of_one_workspace_share_the_secret_of_the_state(new_url, issuer, email):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two:
        first = Person(one, issuer, "viewer", email=email, email_verified=True)
        answer = first.agree(*first.start())
        second = Person(two, issuer, "viewer")
        second.cookies.update(first.cookies)
        assert second.finish(answer) == {"": "/accounts/a1"}
        assert second.who == called(one, email)[0].user_id
