"""`POST /v1/events`: bad events fail alone, deliveries repeat, bodies come in any pieces, keys answer again."""

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from events_app import SENDER, Client, create
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import TABLES
from serving import receiving
from serving.api.schemas.events import REQUEST_BODY, EventsRequest
from serving.events import AHEAD, EVENT_TABLES, MODELS
from serving.receiving import BATCH, receive
from serving.settings import ServiceSettings
from serving.store import Identity, Store
from serving.store.instants import now
from serving.store.intake import LEASE
from serving.store.intake_records import Claim

NDJSON, JSON = "application/x-ndjson", "application/json"
USAGE = {"table": "usage", "account_id": "A1", "feature": "login", "occurred_at": "2026-03-01T08:00:00Z"}
TICKET = {"table": "tickets", "account_id": "A1", "ticket_id": "T1", "opened_at": "2026-03-01T08:00:00Z"}
SURVEY = {"table": "surveys", "account_id": "A1", "kind": "csat", "sent_at": "2026-03-01T08:00:00Z"}
TOUCH = {"table": "touchpoints", "account_id": "A1", "kind": "call", "occurred_at": "2026-03-01T08:00:00Z"}


@pytest.fixture
def app(store: Store) -> FastAPI:
    return create(store, ServiceSettings(body_limit=4096))


@pytest.fixture
def client(app: FastAPI) -> Client:
    return Client(app)


def lines(*events: Any) -> bytes:
    return b"".join(event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n" for event in events)


def post(client: Client, body: bytes, kind: str = NDJSON, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request("POST", "/v1/events", body, {"Content-Type": kind, **names})


def answer(client: Client, *events: Any) -> dict[str, Any]:
    """Post NDJSON lines, event ids given to those without one, and return the answer."""
    numbered = [{"event_id": f"e{k}", **event} if isinstance(event, dict) else event for k, event in enumerate(events)]
    response = post(client, lines(*numbered))
    assert response.status_code == 200, response.text
    return response.json()


def stored(store: Store) -> list[tuple[str, str, dict[str, Any]]]:
    rows = itertools.chain.from_iterable(store.intake.arrived())
    return [(row.table, row.event_id, json.loads(row.payload)) for row in rows]


# --- single events --------------------------------------------------------------------------------------------------------------


def test_ndjson_and_json_take_in_the_same(client: Client, store: Store) -> None:
    store.save_accounts([Identity("A1")])
    events = [{"event_id": "e1", **USAGE}, {"event_id": "e1", **TICKET}, {"event_id": "e2", **USAGE, "account_id": "A9"}]
    first = post(client, lines(*events))
    assert first.status_code == 200
    assert first.json() == {"accepted": 3, "duplicates": 0, "rejected": [], "rejected_count": 0, "unknown_accounts": 1}
    again = post(client, json.dumps({"events": events}).encode(), f"{JSON}; charset=utf-8")
    assert again.json() == {"accepted": 0, "duplicates": 3, "rejected": [], "rejected_count": 0, "unknown_accounts": 1}
    assert [row[:2] for row in stored(store)] == [("usage", "e1"), ("tickets", "e1"), ("usage", "e2")]


def test_the_models_are_the_contract() -> None:
    assert set(MODELS) == set(EVENT_TABLES)
    for name, model in MODELS.items():
        table, fields = TABLES[name], model.model_fields
        assert set(fields) == (set(table.names) | {"event_id", "table"}) - {"recorded_at"}
        assert {each for each, field in fields.items() if field.is_required()} == {*table.required, "event_id", "table"}


def test_values_are_kept_in_the_contracts_types(client: Client, store: Store) -> None:
    sent = {
        **USAGE,
        "occurred_at": "2026-03-01T10:00:00.5+02:00",
        "user_id": " u1 ",
        "quantity": 3.0,
        "users": None,
        "value": 0.1234565,
    }
    assert answer(client, sent)["accepted"] == 1
    [(_, _, kept)] = stored(store)
    assert kept == {
        "feature": "login",
        "occurred_at": "2026-03-01T08:00:00.500000",
        "user_id": "u1",
        "quantity": 3,
        "value": "0.123457",
    }


def test_an_equal_event_in_another_spelling_is_a_duplicate_and_a_changed_one_is_refused(client: Client, store: Store) -> None:
    event = {**TICKET, "event_id": "e", "sentiment": 0.5}
    spelled = {"event_id": "e", **TICKET, "sentiment": "0.50", "opened_at": "2026-03-01T10:00:00+02:00", "priority": None}
    changed = {**event, "priority": "high"}
    got = answer(client, event, spelled, changed, {**changed, "event_id": "e2"})
    assert (got["accepted"], got["duplicates"], got["rejected_count"]) == (2, 1, 1)
    assert got["rejected"] == [{"line": 3, "event_id": "e", "problem": receiving._CONFLICT}]
    assert ["priority" in payload for _, _, payload in stored(store)] == [False, True]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (b"{\n", "not JSON"),
        (b'{"event_id": "\xff"}\n', "not JSON"),
        (b"[]\n", "table: give one of usage, tickets, surveys, touchpoints"),
        (b"[" * 9000 + b"\n", "not JSON"),
        ({"account_id": "A1"}, "table: give one of"),
        ({**USAGE, "table": "accounts"}, "table: give one of"),
        ({**USAGE, "feature": None}, "feature: Input should be a valid string, got None"),
        (
            {"table": "usage", "account_id": "A1", "feature": "x"},
            "occurred_at: missing; usage needs account_id, feature, occurred_at",
        ),
        ({**USAGE, "colour": "red"}, "colour: no column of usage; it takes event_id, table, account_id, feature"),
        ({**USAGE, "recorded_at": "2026-03-01T08:00:00Z"}, "recorded_at: leave it out"),
        ({**USAGE, "occurred_at": 1772352000}, "occurred_at: give ISO 8601 text"),
        ({**USAGE, "occurred_at": "soon"}, "occurred_at: 'soon' is no instant"),
        ({**USAGE, "occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at: '0001-01-01T00:00:00+14:00' lies outside"),
        ({**USAGE, "quantity": 1.5}, "quantity: Input should be a valid integer"),
        ({**USAGE, "quantity": 10**30}, "quantity: Input should be less than or equal to"),
        ({**USAGE, "users": -1}, "users: Input should be greater than or equal to 0, got -1"),
        ({**USAGE, "value": "1e500"}, "value: Input should be less than or equal to"),
        ({**USAGE, "value": float("nan")}, "value: Input should be a finite number"),
        ({**USAGE, "feature": "a\0b"}, "feature: String should match pattern"),
        ({**USAGE, "account_id": "  "}, "account_id: String should have at least 1 character"),
        ({**USAGE, "event_id": "e" * 201}, "event_id: String should have at most 200 characters"),
        ({**TICKET, "resolved_at": "2026-02-01"}, "resolved_at: 2026-02-01T00:00:00 lies before opened_at 2026-03-01T08:00:00"),
        ({**SURVEY, "kind": "NPS"}, "kind: Input should be 'nps', 'csat' or 'ces', got 'NPS'"),
        ({**SURVEY, "score": 7}, "score: 7.000000 is above 5, the top of csat"),
        ({**SURVEY, "sent_at": None}, "sent_at: give the instant"),
        ({**TOUCH, "direction": "sideways"}, "direction: Input should be 'out' or 'in'"),
    ],
)
def test_a_bad_event_fails_alone_and_is_told(client: Client, store: Store, event: Any, told: str) -> None:
    got = answer(client, USAGE, event, TICKET)
    assert (got["accepted"], got["rejected_count"]) == (2, 1)
    [rejected] = got["rejected"]
    assert rejected["line"] == 2
    assert rejected["event_id"] == (event.get("event_id", "e1")[:200] if isinstance(event, dict) else None)
    assert rejected["problem"].startswith(told), rejected
    assert len(stored(store)) == 2


def test_an_event_may_lie_as_far_ahead_as_clocks_differ(client: Client) -> None:
    near, far = (now() + AHEAD + timedelta(seconds=seconds) for seconds in (-30, 30))
    got = answer(client, {**USAGE, "occurred_at": near.isoformat()}, {**USAGE, "occurred_at": far.isoformat()})
    assert got["accepted"] == 1
    assert "lies in the future" in got["rejected"][0]["problem"]


def test_a_survey_sent_on_its_own_scale_or_known_by_its_answer_only_is_taken(client: Client, store: Store) -> None:
    by_answer = {**SURVEY, "sent_at": None, "responded_at": "2026-03-02T00:00:00Z", "score": 7, "scale_max": 10}
    assert answer(client, by_answer)["accepted"] == 1
    [(_, _, kept)] = stored(store)
    assert kept["sent_at"] == kept["responded_at"] == "2026-03-02T00:00:00"


# --- bodies ---------------------------------------------------------------------------------------------------------------------


def test_blank_lines_count_and_crlf_and_an_unended_last_line_are_read(client: Client) -> None:
    body = (
        b"\r\n"
        + lines({"event_id": "e1", **USAGE}).replace(b"\n", b"\r\n")
        + b"  \n\n{bad\n"
        + lines({"event_id": "e2", **USAGE})[:-1]
    )
    got = post(client, body).json()
    assert (got["accepted"], [row["line"] for row in got["rejected"]]) == (2, [5])
    assert post(client, b"").json()["accepted"] == 0


def test_at_most_a_hundred_rejections_are_told_and_all_are_counted(client: Client) -> None:
    got = answer(client, *[b"{\n"] * 150, USAGE)
    assert (len(got["rejected"]), got["rejected_count"], got["accepted"]) == (100, 150, 1)
    assert [row["line"] for row in got["rejected"]] == list(range(1, 101))


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    bounds = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(bounds):
        yield body[start:end]


def test_a_body_is_read_the_same_in_whatever_pieces_it_comes(new_url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "BATCH", 3)
    monkeypatch.setattr(receiving, "LONGEST_LINE", 200)
    prefixes = itertools.count()
    with Store.open(new_url()) as store:

        def body() -> bytes:
            n = next(prefixes)
            good = [{"event_id": f"{n}-{k}", **USAGE} for k in range(7)]
            return lines(good[0], b"\n", b"x" * 201 + b"\n", *good[1:5], b"y" * 999 + b"\n", b"z\n", *good[5:], b"w" * 500)

        @settings(max_examples=30, deadline=None)
        @given(st.lists(st.integers(0, 10**6), max_size=40))
        def law(cuts: list[int]) -> None:
            sent = pieces(body(), cuts)
            got = asyncio.run(receive(sent, "ndjson", store.intake, sender="", key=None, json_limit=1)).answer
            assert (got["accepted"], got["duplicates"]) == (7, 0)
            assert [row["line"] for row in got["rejected"]] == [3, 8, 9, 12]
            assert [row["problem"].startswith("longer than 200 bytes") for row in got["rejected"]] == [True, True, False, True]

        law()


def test_what_came_is_committed_while_the_rest_is_still_to_come(store: Store) -> None:
    seen = []

    async def body() -> AsyncIterator[bytes]:
        for batch in range(3):
            yield lines(*({"event_id": f"{batch}-{k}", **USAGE} for k in range(BATCH)))
            seen.append(store.intake.state().last_number)

    asyncio.run(receive(body(), "ndjson", store.intake, sender="", key=None, json_limit=1))
    assert seen == [BATCH, 2 * BATCH, 3 * BATCH]


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status", "told"),
    [
        (b"{}", "text/csv", {}, 415, "Content-Type 'text/csv' is not read here; send application/x-ndjson or application/json"),
        (b"{}", "", {}, 415, "Content-Type ''"),
        (b"{}", NDJSON, {"Content_Encoding": "gzip"}, 415, "Content-Encoding 'gzip'"),
        (b'{"events": [', JSON, {}, 422, "the body is not JSON"),
        (b"[]", JSON, {}, 422, 'the body must be {"events": [...]}'),
        (b'{"events": [], "more": 1}', JSON, {}, 422, 'the body must be {"events": [...]}'),
        (b'{"events": [' + b" " * 5000 + b"]}", JSON, {}, 413, "as JSON the body may have 4096 bytes; send NDJSON"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem(
    client: Client, store: Store, body: bytes, kind: str, headers: dict[str, str], status: int, told: str
) -> None:
    response = post(client, body, kind, **headers)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["detail"].startswith(told)
    assert stored(store) == []


def test_json_events_are_read_as_strictly_as_lines(client: Client) -> None:
    body = json.dumps({"events": [USAGE, {"event_id": "e", **USAGE}, 7, {"event_id": "f", **USAGE, "occurred_at": 3}]}).encode()
    got = post(client, body, JSON).json()
    assert (got["accepted"], [(row["line"], row["event_id"]) for row in got["rejected"]]) == (1, [(1, None), (3, None), (4, "f")])


def test_the_documented_examples_are_accepted(client: Client) -> None:
    content = REQUEST_BODY["content"]
    assert post(client, content[NDJSON]["example"].encode()).json()["accepted"] == 2
    assert post(client, json.dumps(content[JSON]["example"]).encode(), JSON).json()["duplicates"] == 2
    documented = client.request("GET", "/openapi.json").json()["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    assert set(documented) == {NDJSON, JSON}
    assert documented[JSON]["schema"] == {"$ref": "#/components/schemas/EventsRequest"}
    kinds = EventsRequest.model_json_schema()["properties"]["events"]["items"]["discriminator"]["mapping"]
    assert kinds.keys() == set(EVENT_TABLES)


# --- Idempotency-Key ------------------------------------------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_same_answer_without_work(client: Client, store: Store, monkeypatch: Any) -> None:
    body = lines({"event_id": "e1", **USAGE}, b"{\n")
    first = post(client, body, Idempotency_Key="k1")
    monkeypatch.setattr(store.intake, "add", None)
    again = post(client, body, Idempotency_Key="k1")
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["accepted"] == 1
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")


def test_the_same_key_with_another_body_is_refused_and_applies_nothing(client: Client, store: Store) -> None:
    post(client, lines({"event_id": "e1", **USAGE}), Idempotency_Key="k1")
    other = post(client, lines({"event_id": "e2", **USAGE}), Idempotency_Key="k1")
    assert (other.status_code, other.json()["type"]) == (422, "urn:kunto:problem:key-reused")
    assert len(stored(store)) == 1


def test_who_may_not_send_events_sends_none(store: Store) -> None:
    body = lines({"event_id": "e1", **USAGE})
    reader = replace(SENDER, scopes=frozenset({"scores:read", "feedback:write", "plays:write"}))
    assert [post(Client(create(store, sender=who)), body).status_code for who in (None, reader, SENDER)] == [401, 403, 200]
    assert len(stored(store)) == 1


def test_the_keys_of_two_senders_are_two(store: Store) -> None:
    for number in ("1", "2"):
        client = Client(create(store, sender=replace(SENDER, id=number)))
        assert post(client, lines({"event_id": f"e{number}", **USAGE}), Idempotency_Key="k1").json()["accepted"] == 1


def test_a_key_in_progress_is_told_with_the_time_to_wait(client: Client, store: Store) -> None:
    assert isinstance(store.intake.claim("key:1", "k1"), Claim)
    refused = post(client, lines({"event_id": "e1", **USAGE}), Idempotency_Key="k1")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:kunto:problem:key-in-progress")
    assert 1 <= int(refused.headers["retry-after"]) <= LEASE.total_seconds()
    assert stored(store) == []


def test_a_request_that_failed_may_be_sent_again_under_its_key_at_once(client: Client, store: Store, monkeypatch: Any) -> None:
    assert post(client, b"[]", JSON, Idempotency_Key="k1").status_code == 422
    body = lines(*({"event_id": f"e{k}", **USAGE} for k in range(BATCH + 1)))
    add = store.intake.add
    calls = itertools.count()
    monkeypatch.setattr(store.intake, "add", lambda *given: add(*given) if next(calls) == 0 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        post(client, body, Idempotency_Key="k1")
    monkeypatch.undo()
    got = post(client, body, Idempotency_Key="k1").json()
    assert (got["accepted"], got["duplicates"]) == (1, BATCH)


def test_a_connection_that_breaks_leaves_what_was_committed_and_frees_the_key(app: FastAPI, client: Client, store: Store) -> None:
    body = lines(*({"event_id": f"e{k}", **USAGE} for k in range(BATCH + 1)))
    messages = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])
    headers = [(b"content-type", NDJSON.encode()), (b"idempotency-key", b"k1")]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers, "query_string": b""}
    sent: list[Any] = []

    async def receiving() -> Any:
        return next(messages)

    async def sending(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receiving, sending))
    assert sent[0]["status"] == 400
    assert len(stored(store)) == BATCH
    assert post(client, body, Idempotency_Key="k1").json()["accepted"] == 1


def test_one_of_two_requests_at_once_with_a_key_works_and_the_other_waits(app: FastAPI, store: Store, monkeypatch: Any) -> None:
    working, go_on = threading.Event(), threading.Event()
    add = store.intake.add

    def slowly(*given: Any) -> Any:
        working.set()
        assert go_on.wait(20)
        return add(*given)

    monkeypatch.setattr(store.intake, "add", slowly)
    body, answers = lines({"event_id": "e1", **USAGE}), []
    client = Client(app)
    first = threading.Thread(target=lambda: answers.append(post(client, body, Idempotency_Key="k1")))
    first.start()
    assert working.wait(20)
    assert post(client, body, Idempotency_Key="k1").status_code == 409
    go_on.set()
    first.join()
    assert answers[0].json()["accepted"] == 1
    assert post(client, body, Idempotency_Key="k1").json() == answers[0].json()


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "ä"])
def test_a_key_that_is_none_is_refused(client: Client, key: str) -> None:
    response = client.request("POST", "/v1/events", b"", {b"Content-Type": NDJSON.encode(), b"Idempotency-Key": key.encode()})
    assert response.status_code == 422
