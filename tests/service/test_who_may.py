"""Every route × every scope × every role: what is refused, and how it is told."""

import time
from datetime import timedelta

import pytest

from serving.api.problems import MEDIA_TYPE
from serving.principal import ROLE_SCOPES, SCOPES

#: Every call and the scope that it needs (interface.md "Auth"); None: open.
NEEDS = {
    ("POST", "/v1/score"): "scores:read",
    ("POST", "/v1/accounts/{account_id}/what-if"): "scores:read",
    ("GET", "/v1/accounts"): "scores:read",
    ("GET", "/v1/accounts/{account_id}"): "scores:read",
    ("GET", "/v1/accounts/{account_id}/scores"): "scores:read",
    ("GET", "/v1/worklist"): "scores:read",
    ("GET", "/v1/plays"): "scores:read",
    ("POST", "/v1/plays"): "plays:write",
    ("GET", "/v1/plays/{play_id}"): "scores:read",
    ("PATCH", "/v1/plays/{play_id}"): "plays:write",
    ("GET", "/v1/playbooks"): "scores:read",
    ("GET", "/v1/playbooks/{name}/effect"): "scores:read",
    ("POST", "/v1/accounts/{account_id}/feedback"): "feedback:write",
    ("GET", "/v1/signals"): "scores:read",
    ("GET", "/v1/metrics"): "scores:read",
    ("POST", "/v1/events"): "events:write",
    ("GET", "/v1/webhooks"): "admin",
    ("POST", "/v1/webhooks"): "admin",
    ("DELETE", "/v1/webhooks/{webhook_id}"): "admin",
    ("GET", "/v1/webhooks/dead-letters"): "admin",
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/retry"): "admin",
    ("GET", "/v1/models"): "scores:read",
    ("GET", "/v1/models/{name}"): "scores:read",
    ("POST", "/v1/models/reload"): "admin",
    ("GET", "/v1/status"): "scores:read",
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
}
GUARDED = [(method, path, scope) for (method, path), scope in NEEDS.items() if scope]


def _calls(served):
    return {
        (method.upper(), path): operation
        for path, operations in served.app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


def _ask(client, method, path, **options):
    filled = path.replace("{account_id}", "nobody").replace("{play_id}", "nobody").replace("{name}", "nothing")
    filled = filled.replace("{webhook_id}", "nobody").replace("{delivery_id}", "1")
    body = {"json": {}} if method in ("POST", "PATCH") else {}
    return client.request(method, filled, **body, **options)


def _refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return problem


def test_the_table_names_every_call(served):
    assert set(_calls(served)) == set(NEEDS)


def test_every_call_documents_its_refusals(served):
    for (method, path), operation in _calls(served).items():
        if NEEDS[method, path]:
            assert {"401", "403", "429"} <= operation["responses"].keys(), (method, path)
            assert operation["security"], (method, path)


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_nobody_is_refused(served, method, path, scope):
    answer = _ask(served.client, method, path)
    _refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("given", ["Bearer kunto_unknown", "Bearer ", "Basic a2V5", "kunto", "Bearer kunto_\N{SNOWMAN}"])
def test_a_key_that_is_none_is_refused(served, given):
    problem = _refused(served.client.get("/v1/accounts", headers={"Authorization": given.encode()}), 401)
    assert "kunto key create" in problem["detail"]


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
@pytest.mark.parametrize("held", SCOPES)
def test_a_key_opens_what_its_scope_names(served, method, path, scope, held):
    answer = _ask(served.client, method, path, headers=served.as_key(held))
    if held == scope:
        assert answer.status_code not in (401, 403), answer.text
    else:
        assert _refused(answer, 403)["scope"] == scope


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
@pytest.mark.parametrize("role", ROLE_SCOPES)
def test_a_person_may_what_the_role_names(served, method, path, scope, role):
    answer = _ask(served.people[role], method, path)
    if scope in ROLE_SCOPES[role]:
        assert answer.status_code not in (401, 403), answer.text
    else:
        assert _refused(answer, 403)["scope"] == scope


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_another_site_cannot_use_a_persons_session(served, method):
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}
    problem = _refused(served.people["admin"].request(method, "/v1/plays", headers=headers), 403)
    assert "own pages" in problem["detail"]


def test_a_revoked_key_and_an_expired_key_are_refused(served):
    access = served.service.store.access
    key, text = access.create_key("gone", ["scores:read"])
    access.revoke_key(key.key_id)
    _refused(served.client.get("/v1/accounts", headers={"Authorization": f"Bearer {text}"}), 401)
    _, text = access.create_key("over", ["scores:read"], expires_at=served.service.clock() + timedelta(milliseconds=20))
    time.sleep(0.03)
    _refused(served.client.get("/v1/accounts", headers={"Authorization": f"Bearer {text}"}), 401)


def test_a_csm_limited_to_own_accounts_sees_no_others(served):
    own = served.people["own"]
    mine = own.get("/v1/accounts", params={"limit": 500}).json()
    everything = served.people["csm"].get("/v1/accounts", params={"limit": 500}).json()
    assert 0 < mine["total"] < everything["total"]
    assert {item["csm"] for item in mine["items"]} == {served.own_csm}
    others = next(item for item in everything["items"] if item["csm"] != served.own_csm)["account_id"]
    for call in (own.get(f"/v1/accounts/{others}"), own.get(f"/v1/accounts/{others}/scores")):
        _refused(call, 404)
    _refused(own.post(f"/v1/accounts/{others}/what-if", json={"features": {"seats": 1}}), 404)
    _refused(own.post(f"/v1/accounts/{others}/feedback", json={"verdict": "useful"}), 404)
    _refused(own.post("/v1/plays", json={"account_id": others, "playbook": "activation"}), 404)
    scored = own.post("/v1/score", json={"accounts": [{"account_id": others}]}).json()
    assert scored["items"] == []
    assert scored["errors"][0]["kind"] == "unknown_account"
    assert {item["csm"] for item in own.get("/v1/worklist").json()["items"]} == {served.own_csm}
    assert others not in str(own.get("/v1/signals").json())
    assert own.get("/v1/plays", params={"csm": "somebody else"}).json()["items"] == []
