"""Whatever is sent to the API: the answer is one that its OpenAPI document promises, and never a fault of ours."""

import copy
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import page_company
import pytest
import schemathesis
from own_service import Own, own_service
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from serving import addresses

#: Rules of these operations that JSON Schema cannot say, so data valid by it may be refused with 422.
_MORE_RULES = {
    "list_accounts": "a cursor is one that was given; fields are known ones",
    "list_scores": "a cursor is one that was given",
    "get_worklist": "a cursor is one that was given",
    "list_signals": "a cursor is one that was given",
    "list_plays": "a cursor is one that was given",
    "list_dead_letters": "a cursor is one that was given",
    "get_metrics": "the month is over in the data",
    "score_accounts": "as_of lies before the end of the data",
    "what_if": "features are of the catalogue",
    "start_play": "the playbook is of the catalogue, started_at not a year away",
    "change_play": "exactly one change; a step is one of the play",
    "give_feedback": "a verdict or a manual score; drivers are known ones",
    "create_webhook": "the URL is one that webhooks may be sent to",
    "send_events": "an Idempotency-Key goes with one body",
}
#: Operations whose parts are refused one by one, within an answer of 200.
_FAIL_ALONE = ("score_accounts", "send_events")
#: Their paths are those of /{webhook_id} and /{name} too, so the methods of those are found there.
_ALSO_A_NAME = ("list_dead_letters", "reload_models")
_NUMBERS = itertools.count()


@dataclass
class Sent:
    """How many requests reached the app, and what was wrong with their answers, each kind once."""

    requests: int = 0
    wrong: dict[tuple[Any, ...], str] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def by_status(self) -> Counter[int]:
        """How many answers had each status."""
        return Counter(status for _, status in self.statuses.elements())


@contextmanager
def _running(demo: Any, folder: Path, **settings: Any) -> Iterator[Own]:
    """The service; made-up webhooks are neither looked up nor sent to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_resolved", lambda url: ("93.184.215.14",))
        with own_service(demo.path, folder / "workspace", webhooks_to_private_addresses=False, **settings) as made:
            made.service.deliverer.stop()
            yield made


@pytest.fixture(scope="module")
def own(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with _running(demo, tmp_path_factory.mktemp("own")) as made:
        yield made


@schemathesis.serializer("application/x-ndjson")
def _lines(context: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make each key a new one: one that was used before is refused for that alone."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        case.headers["Idempotency-Key"] = f"{key}-{next(_NUMBERS)}"


def _real(own: Own) -> dict[str, list[str]]:
    """Values of path parameters that something is behind."""
    asked = {"account_id": own.account_ids[0], "playbook": "activation"}
    play = own.client.post("/v1/plays", json=asked).raise_for_status().json()["play_id"]
    hook = {"url": "https://example.com/kunto", "events": ["play.started"]}
    webhook = own.client.post("/v1/webhooks", json=hook).raise_for_status().json()["webhook_id"]
    models = [model["name"] for model in own.client.get("/v1/models").json()["items"]]
    return {
        "account_id": list(own.account_ids[:3]),
        "play_id": [play],
        "webhook_id": [webhook],
        "name": [*models, "activation"],
    }


def _document(own: Own, real: dict[str, list[str]]) -> dict[str, Any]:
    """The OpenAPI document with examples that something is behind; the page's own are of another company."""
    document = copy.deepcopy(own.app.openapi())
    for operation in (each for path in document["paths"].values() for each in path.values()):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in real:
                wanted = "activation" if operation["operationId"] == "get_playbook_effect" else real[parameter["name"]][0]
                parameter["schema"].pop("examples", None)
                parameter["example"] = wanted
    document["components"]["schemas"]["PlayStart"]["example"]["account_id"] = own.account_ids[1]
    return document


def _config(own: Own, real: dict[str, list[str]], phases: tuple[str, ...], examples: int, seed: int | None) -> SchemathesisConfig:
    every = ("examples", "coverage", "fuzzing", "stateful")
    refused = ["2xx", "401", "403", "404", "409", "422", "429"]
    partly = ["200", "400", "401", "403", "404", "405", "406", "409", "415", "422", "429"]
    other_path = {"unsupported_method": {"enabled": False}, "allow_header_conformance": {"enabled": False}}
    operations = [
        {"include-operation-id": list(_ALSO_A_NAME), "checks": other_path},
        {"include-operation-id": list(_MORE_RULES), "checks": {"positive_data_acceptance": {"expected-statuses": refused}}},
        {"include-operation-id": list(_FAIL_ALONE), "checks": {"negative_data_rejection": {"expected-statuses": partly}}},
    ]
    # rows to score are not among them: scoring a known account from its history reads every table, for a second
    names = {f"path.{name}": {"dictionary": name, "probability": 0.5} for name in real}
    names["body.account_id"] = {"dictionary": "account_id", "probability": 0.5}
    asked: dict[str, Any] = {
        "auth": {"openapi": {"HTTPBearer": {"bearer": own.key}}},
        "continue-on-failure": True,
        "dictionaries": {name: {"values": values} for name, values in real.items()},
        "parameters": names,
        "generation": {"max-examples": examples, "mode": "all", "no-shrink": True, "with-security-parameters": False},
        "phases": {name: {"enabled": name in phases} for name in every},
        "operations": operations,
    }
    return SchemathesisConfig.from_dict(asked if seed is None else asked | {"seed": seed})


def _send(own: Own, phases: tuple[str, ...], examples: int, seed: int | None = None) -> Sent:
    """Run schemathesis' phases over the app and return what came of it."""
    sent, real = Sent(), _real(own)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":  # the app has been started already
            raise RuntimeError("no lifespan")
        sent.requests += 1
        await own.app(scope, receive, send)

    schema = schemathesis.openapi.from_dict(_document(own, real), config=_config(own, real, phases, examples, seed))
    schema.app = app

    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _judge(event.recorder, sent)
        elif isinstance(event, events.NonFatalError):
            sent.wrong["error", event.label] = repr(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
    return sent


def _judge(recorder: Any, sent: Sent) -> None:
    for case_id, made in recorder.interactions.items():
        if made.response is not None:
            sent.statuses[recorder.cases[case_id].value.operation.label, made.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE:
                failure = check.failure_info.failure
                made = recorder.interactions[failure.case_id or case_id]
                status = made.response.status_code if made.response is not None else None
                asked = f"{made.request.method} {made.request.uri} {(made.request.body or b'')[:2000]!r}"
                answered = made.response.content[:2000] if made.response is not None else b""
                key = (check.name, failure.operation, status)
                sent.wrong.setdefault(key, f"{failure.message[:1500]}\n{asked}\n{answered!r}")


def _hold(sent: Sent) -> None:
    told = "\n\n".join(f"{key}: {what}" for key, what in sent.wrong.items())
    assert not sent.wrong, told
    # beyond what must be refused: each operation was asked something that it could answer
    done = {label for label, status in sent.statuses if status < 300}
    assert {label for label, _ in sent.statuses} - done <= {"POST /v1/webhooks/deliveries/{delivery_id}/retry"}


def test_every_answer_is_a_documented_one(own: Own) -> None:
    sent = _send(own, ("examples", "fuzzing"), examples=12, seed=4)
    assert sent.requests >= 300
    _hold(sent)


@pytest.mark.trust
def test_ten_thousand_answers_are_documented_ones(own: Own, capsys: pytest.CaptureFixture[str]) -> None:
    sent = _send(own, ("examples", "coverage", "fuzzing", "stateful"), examples=480)
    with capsys.disabled():
        sys.stdout.write(f"\n{sent.requests} requests; answers by status: {dict(sorted(sent.by_status.items()))}\n")
    assert sent.requests >= 10_000
    _hold(sent)


@pytest.mark.trust
@pytest.mark.postgres
def test_postgresql_answers_as_sqlite_does(demo: Any, tmp_path: Path, postgres: str) -> None:
    with _running(demo, tmp_path, store=f"{postgres}/postgres") as own:
        page_company.company(own.service.store)
        sent = _send(
            replace(own, account_ids=("acme", "grows", "few")), ("examples", "coverage", "fuzzing", "stateful"), examples=60
        )
    assert sent.requests >= 2_000
    _hold(sent)
