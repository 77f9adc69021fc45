"""The application: every route, one shape of errors, and what runs beside the requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool

from serving import sign_in, web
from serving.api import problems
from serving.api.gate import Gate
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
from serving.api.schemas.scoring import AccountToScore
from serving.api.service import Service
from serving.observe import tracing
from serving.observe.requests import Observed

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
_ABOUT = """Which customers are about to leave or to grow, why, and what to do about it.

Every error is `application/problem+json` (RFC 9457). Lists are `{"items", "next_cursor"}`. Times are UTC, ISO 8601. Answers carry
an `ETag`; send it back as `If-None-Match`. `RateLimit-*` headers say how many requests are left."""


def create_app(service: Service) -> FastAPI:
    """The app over a service: models are loaded before the first request is taken, and followed from then on."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(title="Kunto", version=service.version, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    problems.install(app)
    for module in _ROUTES:
        app.include_router(module.router)
    app.include_router(sign_in.router, include_in_schema=False)
    web.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    # the last one added is the first to see a request: its id is there when the gate refuses
    app.add_middleware(Gate, service=service)
    sign_in.install(app, service.settings)
    app.add_middleware(Observed, metrics=service.metrics)
    tracing.install(app, service.settings)
    return app


def _openapi(app: FastAPI) -> dict[str, object]:
    """OpenAPI with the shape of problems, which no route returns as its model."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        for model in (problems.ProblemDetail, AccountToScore):
            schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
        app.openapi_schema = schema
    return app.openapi_schema
