"""Requests made to break things, on both databases: each is answered, as a problem or as asked, and never by a fault of ours."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import page_company
import pytest
from own_service import Own, own_service

from serving.api.problems import MEDIA_TYPE

JSON = {"Content-Type": "application/json"}
NUL, SURROGATE, HUGE = "a\x00b", "\\ud800", "9" * 5000
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def own(demo: Any, new_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """The service over a dozen accounts made by hand."""
    with own_service(demo.path, tmp_path_factory.mktemp("own") / "workspace", store=new_url()) as made:
        page_company.company(made.service.store)
        yield made


def cursor(text: str) -> str:
    """A cursor as it looks outside, of any JSON text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


CURSORS = [
    *("é", "%00", "====", *map(cursor, ("", "[]", "{}", "1", "[" * 1400, '["\\u0000", "\\u0000"]'))),
    *(cursor(f"[{each}]") for each in ("null", "true", "NaN", "1e400", "-1", '"\\u0000"', f'"{SURROGATE}"', "9" * 40)),
    *(cursor(f"[{each}, {each}]") for each in ("null", "NaN", "9" * 40, '"9999-12-31T23:59:59-14:00"', f'"{SURROGATE}"')),
    *(cursor(f'["2026-01-01T00:00:00", {each}]') for each in ("null", "1e99", "true", '"\\u0000"', '"nobody"', "-1", "9" * 40)),
]
LISTS = ["accounts", "accounts/acme/scores", "worklist", "plays", "signals", "webhooks/dead-letters"]
PATHS = """
accounts/%00 accounts/a%2Fb accounts/%2F accounts/%FF%FE accounts//scores accounts/..%2F.. accounts/%0d%0aX:1
accounts/%F0%9F%92%A9 plays/%00 plays/%FF plays/x/y models/%00 models/%FF playbooks/%00/effect playbooks//effect
playbooks/%FF/effect accounts?csm=%00 accounts?name=%FF accounts?name=%00 accounts?playbook=%00 worklist?csm=%00
plays?csm=%00 plays?account_id=%00 plays?playbook=%00 accounts?fields=%00 accounts?fields=,, accounts?fields=
accounts?limit=1&limit=2 accounts?limit=0 accounts?limit=-1 accounts?limit=1e3 accounts?limit=١ accounts?limit=
worklist?hours=NaN worklist?hours=Infinity worklist?hours=1e400 worklist?hours=-0.0 worklist?hours=5e-324
metrics?month=0000-00 metrics?month=1900-01 metrics?month=2099-12 metrics?by=%00 accounts?sort= accounts?leaving=2
accounts?language=sv accounts?band=%00 signals?rule=%00
"""
GETS = [*PATHS.split(), *(f"accounts/{'x' * n}" for n in (200, 201)), f"accounts?limit={HUGE}", f"worklist?hours={HUGE}"]
INSTANTS = """
0001-01-01 0001-01-01T00:00:00%2B14:00 9999-12-31T23:59:59-14:00 9999-12-31T23:59:59.999999 0000-01-01 10000-01-01 2026-02-30
2026-01-01T25:00 2026 0 -1 1e9 NaN %00 now 2026-W01-1 20260101 2026-01-01T00:00:00%2B23:59 2026-01-01T00:00:00%2B99:99
2016-12-31T23:59:60 2026-01-01T00:00:00ZZ
"""


def held(own: Own, method: str, path: str, **asked: Any) -> Any:
    """The answer, once it is one that the OpenAPI document promises."""
    answer = own.client.request(method, f"/v1/{path}", **asked)
    assert answer.status_code < 500, (method, path[:200], asked, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == MEDIA_TYPE, (path, answer.text)
        assert answer.json()["status"] == answer.status_code
    elif answer.content:
        json.loads(answer.content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return answer


def test_odd_paths_and_queries(own: Own) -> None:
    for path in GETS:
        held(own, "GET", path)


def test_odd_cursors(own: Own) -> None:
    for place in LISTS:
        for each in CURSORS:
            held(own, "GET", f"{place}?cursor={each}")


def test_odd_instants(own: Own) -> None:
    for instant in (*INSTANTS.split(), "", HUGE):
        for place in LISTS[:3]:
            for name in ("as_of", "known_at"):
                assert held(own, "GET", f"{place}?{name}={instant}").status_code in (200, 404, 422)
        as_of = instant.replace("%2B", "+")
        held(own, "POST", "accounts/acme/what-if", json={"features": {"seats": 1}, "as_of": as_of})
        held(own, "POST", "score", json={"accounts": [{"features": {"seats": 1}}], "as_of": as_of})
    for number in (0, 2026, 1.5, True, 10**400, [], {}):
        asked = {"accounts": [{"features": {"seats": 1}}], "as_of": number}
        assert held(own, "POST", "score", json=asked).status_code == 422, number


def test_a_year_is_no_second_of_1970(own: Own) -> None:
    assert held(own, "GET", "accounts?as_of=2026").status_code == 422
    assert held(own, "GET", "accounts?as_of=20260801").json()["total"] > 0  # ISO 8601 without dashes


LATE, EARLY = "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"
#: What stands in bodies of each form in turn.
ODD: dict[str, list[str]] = {
    '{"accounts": …}': ["NaN", HUGE, "[NaN]", DEEP, "[1e400]", "[[]]", "[null]"],
    '{"events": …}': ["NaN", HUGE, "[NaN]", DEEP],
    '{"accounts": [{"account_id": …}]}': ['"\\u0000"', "1", f'"{SURROGATE}"', f'{{"{SURROGATE}": 1}}'],
    '{"accounts": [{"features": {"seats": …}}]}': ["NaN", "1e400", "-1e308", "9" * 400, "true", '"1"', "[]", f'"{SURROGATE}"'],
    '{"accounts": [{"features": {…: 1}}]}': ['""', f'"{SURROGATE}"', f'"{"x" * 201}"', '"\\u0000"', '"seats": 2, "seats"'],
    '{"accounts": [{"features": {"days_to_renewal": …}}]}': ["1e15", "-1e15", "1e6", "-1e6"],
    '{"accounts": [{"features": {"mrr": …}}]}': ["1e15", "-1", "5e-324"],
    '{"features": {"seats": …}}': ["NaN", "1e400", f'"{SURROGATE}"', "[]", DEEP],
    '{"features": {…: 1}}': [f'"{SURROGATE}"', '"\\u0000"', '""'],
    '{"verdict": "useful", "note": "…"}': ["\\u0000", SURROGATE, "x" * 5000, " ", "\\u202e"],
    '{"verdict": "useful", "driver": "…"}': ["\\u0000", SURROGATE, "silence", "none"],
    '{"verdict": "useful", "as_of": "…"}': [LATE, EARLY, "\\u0000"],
    '{"manual_score": {"score": 1, "reason": "x", "expires_at": "…"}}': [LATE, EARLY, "\\u0000", "9999-12-31"],
    '{"account_id": "…", "playbook": "activation"}': ["\\u0000", SURROGATE, " ", "x" * 200],
    '{"account_id": "acme", "playbook": "activation", "owner": "…"}': ["\\u0000", SURROGATE, " "],
    '{"account_id": "acme", "playbook": "activation", "note": "…"}': ["\\u0000", SURROGATE],
    '{"account_id": "acme", "playbook": "activation", "started_at": "…"}': [LATE, EARLY, "0001-01-01", "9999-12-31"],
    '{"version": …, "resume": true}': ["1e400", HUGE, "1.0", "2147483648", "NaN", "-1", '"1"'],
    '{"version": 1, …}': ['"step_done": 1000', f'"snooze_until": "{LATE}"', '"note": "\\u0000"'],
    '{"url": "…", "events": ["play.started"]}': ["https://\\u0000", f"https://{SURROGATE}", "http://[::1", "http://"],
}
BODIES = [
    *(b"", b"null", b"[]", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b'"x"', b"NaN", b"{}{}", DEEP.encode(), b'{"a":' * 50_000),
    *(form.replace("…", each).encode() for form, odd in ODD.items() for each in odd),
]
POSTS = ["score", "accounts/acme/what-if", "accounts/acme/feedback", "plays", "events", "webhooks"]


@pytest.mark.parametrize("place", POSTS)
def test_odd_bodies(own: Own, place: str) -> None:
    for body in BODIES:
        held(own, "POST", place, content=body, headers=JSON)


def test_odd_changes_of_a_play(own: Own) -> None:
    play = own.client.post("/v1/plays", json={"account_id": "long", "playbook": "reach_out_call"}).json()["play_id"]
    for body in BODIES:
        held(own, "PATCH", f"plays/{play}", content=body, headers=JSON)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "", "/"])
def test_odd_content_types(own: Own, kind: str) -> None:
    for place in POSTS:
        held(own, "POST", place, content=b'{"accounts": [{"features": {"seats": 1}}]}', headers={"Content-Type": kind})


HEADERS = (
    "Authorization Content-Encoding Content-Length Cookie Host Idempotency-Key If-None-Match Origin X-Request-Id traceparent"
)
VALUES = [
    b"",
    b"\xff\xfe",
    b"\xb2",
    b"\x01",
    b"x" * 300,
    b'W/"',
    b"*",
    b"-1",
    b"0x10",
    b"9" * 5000,
    b'"a", W/"b"',
    b"Bearer \x00",
    b"Bearer",
]


@pytest.mark.parametrize("name", HEADERS.split())
def test_odd_headers(own: Own, name: str) -> None:
    for value in (*VALUES, b"kunto_session=\xff"):
        headers = JSON | {name: value}
        held(own, "POST", "events", content=b'{"events": []}', headers=headers)
        held(own, "GET", "accounts?limit=1", headers=headers)
