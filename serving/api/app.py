"""The application: every route, one shape of errors, and what runs beside the requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from serving import sign_in, web
from serving.api import description, problems
from serving.api.gate import Gate
from serving.api.service import Service
from serving.observe import tracing
from serving.observe.requests import Observed


def create_app(service: Service) -> FastAPI:
    """The app over a service: models are loaded before the first request is taken, and followed from then on."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(title=description.TITLE, version=service.version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    problems.install(app)
    description.include(app)
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
    if app.openapi_schema is None:
        app.openapi_schema = description.openapi(app.routes, app.version)
    return app.openapi_schema
