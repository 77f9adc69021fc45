"""What the API says of itself: OpenAPI, served at /openapi.json and printed by `python -m serving.api.description`."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import BaseRoute

from serving.api import problems
from serving.api.routes import (
    accounts,
    events,
    feedback,
    metrics,
    models,
    playbooks,
    plays,
    scoring,
    signals,
    status,
    webhooks,
    worklist,
)
from serving.api.schemas.events import EventsRequest
from serving.api.schemas.scoring import AccountToScore

_ROUTES = (
    scoring,
    accounts,
    worklist,
    plays,
    playbooks,
    feedback,
    signals,
    metrics,
    events,
    webhooks,
    models,
    status,
)
TITLE = "Kunto"
ABOUT = """Which customers are about to leave or to grow, why, and what to do about it.

Every error is `application/problem+json` (RFC 9457). Lists are `{"items", "next_cursor"}`. Times are UTC, ISO 8601. Answers carry
an `ETag`; send it back as `If-None-Match`. `RateLimit-*` headers say how many requests are left."""
_SCHEMAS = "serving.api.schemas."
#: Shapes that no route names as its model: what is read as a stream, row by row, or raised.
_BESIDES: tuple[type[BaseModel], ...] = (problems.ProblemDetail, AccountToScore, EventsRequest)


def include(app: FastAPI) -> None:
    """Add every route of the API to the app; its operations are named by their functions."""
    for module in _ROUTES:
        app.include_router(module.router, generate_unique_id_function=lambda route: route.name)


def openapi(routes: Sequence[BaseRoute], version: str) -> dict[str, Any]:
    """The OpenAPI document of the routes."""
    found = get_openapi(title=TITLE, version=version, description=ABOUT, routes=routes)
    schemas = found["components"]["schemas"]
    for model in _BESIDES:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    for model in _descendants(BaseModel):
        if model.__module__.startswith(_SCHEMAS) and model.__name__ in schemas:
            # the framework leaves out every null, those of examples too
            schemas[model.__name__] |= model.model_config.get("json_schema_extra", {})
    return found


def _descendants(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _descendants(each)


def main() -> None:
    """Print the document: what a typed client is generated from, without a workspace."""
    app = FastAPI()
    include(app)
    print(json.dumps(openapi(app.routes, "1"), indent=1, ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
