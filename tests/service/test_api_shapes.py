"""What a user of the API relies on, call by call; of lists: test_api_lists."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import page_company
import pytest
from own_service import Own, beside, own_service
from page_company import FEATURES, account

from serving import addresses
from serving.api.problems import MEDIA_TYPE

INLINE = {"features": {"days_to_renewal": 60, "seats": 20, "active_users_30d": 4}}


@pytest.fixture(scope="module")
def own(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """The service over accounts made by hand, the one that the examples name among them; made-up hosts are not looked up."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_resolved", lambda url: ("93.184.215.14",))
        with own_service(demo.path, folder / "workspace", store=f"sqlite:///{folder / 'own.db'}") as made:
            made.service.deliverer.stop()
            page_company.company(made.service.store)
            page_company.write(made.service.store, [*page_company.accounts(), account("A00257")], inputs=True)
            yield made


def told(answer: Any, status: int) -> dict[str, Any]:
    """The answer's record, once it has that status."""
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return answer.json()


# --- every answer ---------------------------------------------------------------------------------------------------------------


def test_what_is_held_already_is_not_sent_again(own: Own) -> None:
    path = "/v1/accounts/grows"
    first = own.client.get(path)
    etag = first.headers["etag"]
    for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = own.client.get(path, headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert own.client.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    told(own.client.post("/v1/accounts/grows/feedback", json={"verdict": "useful"}), 201)
    changed = own.client.get(path, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.headers["etag"] != etag) == (200, True)


def test_the_rate_counts_down_and_past_it_nothing_is_done(own: Own) -> None:
    with beside(own, rate="3/minute", anonymous_rate="2/minute") as slow:
        for left in ("2", "1", "0"):
            answer = slow.client.get("/v1/accounts/grows")
            headers = {name: answer.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "policy")}
            assert headers == {"limit": "3", "remaining": left, "policy": "3;w=60"}
            assert 0 <= int(answer.headers["ratelimit-reset"]) <= 60
        answer = slow.client.post("/v1/plays", json={"account_id": "grows", "playbook": "activation"})
        assert told(answer, 429)["type"] == "urn:kunto:problem:too-many-requests"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert slow.client.get("/v1/plays", headers={"Authorization": ""}).status_code == 401
        assert slow.client.get("/healthz").status_code == 200, "whether it is alive is always told"
        other = slow.service.store.access.create_key("other", ["scores:read"])[1]
        assert slow.client.get("/v1/plays", headers={"Authorization": f"Bearer {other}"}).status_code == 200


def test_whoever_guesses_keys_is_soon_refused(own: Own) -> None:
    with beside(own, anonymous_rate="2/minute") as slow:
        guesses = [slow.client.get("/v1/plays", headers={"Authorization": f"Bearer kunto_{n}"}).status_code for n in range(4)]
    assert guesses == [401, 401, 429, 429]


@pytest.mark.parametrize("told_before", [True, False])
def test_a_body_past_the_limit_is_refused(own: Own, told_before: bool) -> None:
    sizes = [("score", 3000, 413), ("accounts/grows/feedback", 3000, 413), ("events", 3000, 200), ("events", 5000, 413)]
    with beside(own, body_limit=2048, events_body_limit=4096) as small:
        for path, length, status in sizes:
            kind = "application/x-ndjson" if path == "events" else "application/json"
            body = b"{}".ljust(length)
            content = body if told_before else iter([body[:1000], body[1000:]])
            told(small.client.post(f"/v1/{path}", content=content, headers={"Content-Type": kind}), status)
        told(small.client.post("/v1/score", json={"accounts": [INLINE]}), 200)


def test_a_request_keeps_its_id(own: Own) -> None:
    answer = own.client.get("/v1/accounts/nobody", headers={"X-Request-Id": "job-7.1"})
    assert answer.headers["x-request-id"] == "job-7.1"
    assert told(answer, 404)["instance"] == "urn:request:job-7.1"
    for odd in ("two words", "x" * 500, "a\tb"):
        given = own.client.get("/v1/accounts/nobody", headers={"X-Request-Id": odd}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", given)


def test_what_is_not_there_or_not_allowed_says_what_is(own: Own) -> None:
    assert "openapi.json" in told(own.client.get("/v1/nothing"), 404)["detail"]
    answer = own.client.put("/v1/plays")
    assert (told(answer, 405)["status"], answer.headers["allow"]) == (405, "GET, POST")


# --- scoring --------------------------------------------------------------------------------------------------------------------


def test_a_bad_row_fails_alone_and_the_others_keep_their_places(own: Own, demo: Any) -> None:
    known = demo.ran["score"][0]["account_id"]
    rows: list[Any] = [INLINE, {"features": {"days_to_renewall": 60}}, {"account_id": known}, {"account_id": "nobody"}]
    rows += ["acme", {"account_id": known, **INLINE}, {"features": {"seats": "20"}}, {"features": {}}, INLINE]
    answer = told(own.client.post("/v1/score", json={"accounts": rows}), 200)
    assert [item["index"] for item in answer["items"]] == [0, 2, 8]
    assert [item["account_id"] for item in answer["items"]] == [None, known, None]
    errors = {error["index"]: error for error in answer["errors"]}
    assert list(errors) == [1, 3, 4, 5, 6, 7]
    kinds = ["columns_differ", "unknown_account", "invalid", "invalid", "columns_differ", "columns_differ"]
    assert [error["kind"] for error in errors.values()] == kinds
    assert errors[1]["unknown"] == {"days_to_renewall": "days_to_renewal"}
    assert "did you mean 'days_to_renewal'" in errors[1]["detail"]
    assert errors[3]["account_id"] == "nobody"


def test_a_thousand_rows_are_scored_and_one_more_are_not(own: Own) -> None:
    answer = told(own.client.post("/v1/score", json={"accounts": [INLINE] * 1000}), 200)
    assert [item["index"] for item in answer["items"]] == list(range(1000))
    for rows in ([], [INLINE] * 1001):
        assert "1" in told(own.client.post("/v1/score", json={"accounts": rows}), 422)["detail"]


def test_the_language_of_sentences(own: Own) -> None:
    def why(**asked: Any) -> set[str]:
        answer = own.client.post("/v1/score", json={"accounts": [INLINE]} | asked.pop("body", {}), **asked)
        return {driver["text"] for driver in told(answer, 200)["items"][0]["reasons"]["drivers"]}

    assert why() == why(params={"language": "en"}) != why(params={"language": "fi"})
    assert why(params={"language": "en"}, body={"language": "fi"}) == why(params={"language": "fi"})


def test_what_if_nothing_were_different(own: Own) -> None:
    asked = {"features": {"seat_use_30d": FEATURES["seat_use_30d"]}}
    answer = told(own.client.post("/v1/accounts/acme/what-if", json=asked), 200)
    assert answer["before"] == answer["after"]
    difference = answer["difference"]
    assert (difference["health_score"], difference["drivers"]) == (0, [])
    assert all(each["change"] == 0 for each in difference["predictions"])
    assert (difference["play"]["before"], difference["play"]["expected_value"]) == (difference["play"]["after"], 0)
    more = told(own.client.post("/v1/accounts/acme/what-if", json={"features": {"seat_use_30d": 1.0}}), 200)
    assert more["before"] == answer["before"] != more["after"]
    assert told(own.client.post("/v1/accounts/acme/what-if", json={"features": {"seat_use": 1}}), 422)["unknown"].keys() == {
        "seat_use"
    }
    assert "kunto score" in told(own.client.post("/v1/accounts/long/what-if", json=asked), 404)["detail"]


# --- plays and feedback ---------------------------------------------------------------------------------------------------------


def test_a_play_from_start_to_close(own: Own) -> None:
    asked = {"account_id": "suomi", "playbook": "reach_out_call", "owner": "u1", "note": "asked for by phone"}
    answer = own.client.post("/v1/plays", json=asked)
    play = told(answer, 201)
    where = answer.headers["location"]
    assert told(own.client.get(where), 200) == play
    assert (play["state"], play["version"], play["owner"]) == ("running", 1, "u1")
    assert "already" in told(own.client.post("/v1/plays", json=asked), 409)["detail"]

    def change(status: int, **given: Any) -> dict[str, Any]:
        return told(own.client.patch(where, json=given), status)

    done = change(200, version=1, step_done=1)
    assert (done["version"], done["steps"][0]["done_at"] is None) == (2, False)
    assert "2" in change(409, version=1, step_done=2)["detail"]
    assert change(200, version=2, step_undone=1)["steps"][0]["done_at"] is None
    assert change(200, version=3, snooze_until="2100-01-01T02:00:00+02:00")["snoozed_until"] == "2100-01-01T00:00:00Z"
    assert change(200, version=4, resume=True)["state"] == "running"
    assert "exactly one of" in change(422, version=5, resume=True, close="declined")["detail"]
    closed = change(200, version=5, close="goal_reached", note="They are back")
    assert (closed["state"], closed["outcome"], closed["closed_at"] is None) == ("closed", "goal_reached", False)
    assert change(409, version=6, close="goal_reached")["title"] == "Conflict"
    assert told(own.client.get("/v1/plays", params={"account_id": "suomi", "state": "closed"}), 200)["items"] == [closed]
    assert told(own.client.post("/v1/plays", json=asked), 201)["play_id"] != play["play_id"], "closed, it may be started again"
    unknown = told(own.client.post("/v1/plays", json=asked | {"playbook": "magic"}), 422)
    assert "reach_out_call" in unknown["detail"]


def test_feedback_stands_beside_the_score(own: Own) -> None:
    kept = told(
        own.client.post("/v1/accounts/past/feedback", json={"verdict": "wrong", "driver": "silence", "note": "They call us"}), 201
    )
    assert (kept["feedback"]["verdict"], kept["feedback"]["text"], kept["manual_score"]) == ("wrong", "They call us", None)
    expires = (own.service.clock() + page_company.timedelta(days=9)).isoformat()
    manual = {"manual_score": {"score": 40, "reason": "Their sponsor told us", "expires_at": expires}}
    given = told(own.client.post("/v1/accounts/past/feedback", json=manual), 201)["manual_score"]
    picture = told(own.client.get("/v1/accounts/past"), 200)
    assert picture["feedback"] == [kept["feedback"]]
    assert picture["manual_score"] == given
    assert picture["score"]["health"]["score"] != 40
    assert (
        "manual_score" in told(own.client.post("/v1/accounts/past/feedback", json={"verdict": "wrong", **manual}), 422)["detail"]
    )
    late = copy.deepcopy(manual)
    late["manual_score"]["expires_at"] = "2999-01-01T00:00:00Z"
    assert "expires_at" in told(own.client.post("/v1/accounts/past/feedback", json=late), 422)["detail"]


# --- examples -------------------------------------------------------------------------------------------------------------------


def _examples(schema: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema that gives examples, with each of them."""
    for each in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(each, dict | list):
            yield from _examples(each)
    if isinstance(schema, dict):
        given = schema.get("examples", [])
        examples = [schema["example"]] if "example" in schema else given if isinstance(given, list) else []
        described = schema.get("schema", schema)
        yield from ((described, example) for example in examples if {"type", "$ref", "anyOf", "allOf"} & described.keys())


def test_every_example_is_of_the_schema_that_it_explains(own: Own) -> None:
    document = own.app.openapi()
    found = list(_examples(document))
    assert len(found) > 20
    for schema, example in found:
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(whole, validate_formats=True).validate(example)


def test_every_operation_is_shown_by_an_example(own: Own) -> None:
    document = own.app.openapi()
    shown = {name for name, schema in document["components"]["schemas"].items() if {"example", "examples"} & schema.keys()}
    without = {
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if not any(_examples(operation)) and not _shapes(operation, document) & shown
    }
    assert without == {"get_prometheus_metrics"}


def _shapes(part: Any, document: dict[str, Any]) -> set[str]:
    """The shapes that a part of the document names, and those that they are made of; of errors there is one."""
    names = set(re.findall(r"#/components/schemas/(\w+)", repr(part))) - {"ProblemDetail"}
    below = (_shapes(document["components"]["schemas"][name], document) for name in names)
    return names.union(*below)


def test_every_example_of_a_body_is_accepted(own: Own) -> None:
    document, sent = own.app.openapi(), 0
    play = own.client.post("/v1/plays", json={"account_id": "none", "playbook": "activation"}).json()["play_id"]
    places = {"account_id": "A00257", "play_id": play}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                schema = document["components"]["schemas"].get(body["schema"].get("$ref", "").rpartition("/")[2], {})
                for example in [body.get("example"), schema.get("example"), *schema.get("examples", [])]:
                    if example is not None:
                        asked = {"content": example} if isinstance(example, str) else {"json": example}
                        where = path.format(**places).replace("A00257/what-if", "acme/what-if")
                        answer = own.client.request(method, where, headers={"Content-Type": kind}, **asked)
                        assert answer.status_code < 300, (path, example, answer.text)
                        sent += 1
    assert sent >= 8
