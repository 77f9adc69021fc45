"""`/v1/models` tells what serves, in the shape that OpenAPI promises, and looks again when an administrator asks."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from registry import CHURN, Registry, boosted, outcome_model

from serving.api import problems
from serving.api.routes import models as routes
from serving.api.schemas.models import ModelPage, ModelRecord, ModelState
from serving.models_in_use import ModelsInUse
from serving.principal import Principal, Scope

READER, ADMIN = frozenset[Scope]({"scores:read"}), frozenset[Scope]({"admin"})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    found = Registry(Path(tmp_path_factory.mktemp("registry")))
    found.add(CHURN, boosted("churn"))
    return found


@pytest.fixture
def app(registry: Registry) -> FastAPI:
    registry.promote(CHURN, 1)
    models = ModelsInUse(registry.uri, prepare=lambda champions: champions)
    models.check()
    made = FastAPI()
    made.state.service = SimpleNamespace(models=models)
    problems.install(made)
    made.include_router(routes.router)
    return made


def ask(
    app: FastAPI, method: str, path: str, scopes: frozenset[Scope] = READER, headers: dict[str, str] | None = None
) -> httpx.Response:
    async def signed_in(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = Principal("key", "k1", "test", scopes)
        await app(scope, receive, send)

    async def asking() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(signed_in), base_url="http://kunto") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asking())


def test_the_models_that_serve(app: FastAPI) -> None:
    answer = ask(app, "GET", "/v1/models")
    page = ModelPage.model_validate_json(answer.content)
    (record,) = page.items
    model = boosted("churn")
    assert (record.name, record.version, record.outcome, record.horizon_days) == (CHURN, 1, "churn", 90)
    assert (record.served_by, record.features, record.base_rate) == ("booster", len(model.inputs), 0.06)
    assert (record.gate.state, record.gate.reasons, record.card) == ("pass", [], None)
    assert record.trained_on == {"data": "d1", "code": "0.1.0"}
    assert ModelRecord.model_validate_json(ask(app, "GET", f"/v1/models/{CHURN}").content) == record
    assert ask(app, "GET", "/v1/models", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_a_model_that_does_not_serve(app: FastAPI) -> None:
    answer = ask(app, "GET", "/v1/models/kunto-churn-30d")
    assert (answer.status_code, answer.headers["content-type"]) == (404, problems.MEDIA_TYPE)
    assert answer.json()["detail"] == f"no model 'kunto-churn-30d' serves; those that do: {CHURN}"


def test_an_administrator_has_the_registry_looked_at_now(app: FastAPI, registry: Registry) -> None:
    registry.add(CHURN, outcome_model("churn"))
    assert ask(app, "POST", "/v1/models/reload").status_code == 403
    assert ask(app, "GET", f"/v1/models/{CHURN}").json()["version"] == 1
    answer = ask(app, "POST", "/v1/models/reload", ADMIN)
    state = ModelState.model_validate_json(answer.content)
    assert (answer.status_code, state.serving, state.versions, state.problem) == (200, "models", {CHURN: 2}, None)
    told = ask(app, "GET", f"/v1/models/{CHURN}").json()
    assert (told["version"], told["served_by"]) == (2, "logistic")


@pytest.mark.parametrize("shape", [ModelPage, ModelRecord, ModelState])
def test_the_examples_are_of_their_own_shape(shape: Any) -> None:
    shape.model_validate(shape.model_config["json_schema_extra"]["example"])
