"""`/healthz`, `/readyz`, `/metrics`, and `GET /v1/status`: alive, ready, measured, and how old everything is."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from starlette.responses import PlainTextResponse

from serving.api.dependencies import Reader, ServiceOf
from serving.api.paging import answered
from serving.api.problems import documented
from serving.api.schemas.status import Alive, Ready, Status
from serving.observe.metrics import CONTENT_TYPE
from serving.status import readiness, standing, status

router = APIRouter(tags=["status"])


@router.get("/healthz", response_model=Alive)
def healthz() -> dict[str, str]:
    """Alive: the process answers."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready yet"}})
def readyz(service: ServiceOf) -> Response:
    """Ready: the database answers, and the models are loaded and have passed their self-test."""
    ready, checks = readiness(service.store, service.models)
    content: dict[str, Any] = {"ready": ready, "checks": checks}
    return Response(to_json(content), 200 if ready else 503, media_type="application/json")


@router.get("/metrics", response_class=PlainTextResponse)
def get_prometheus_metrics(service: ServiceOf) -> Response:
    """What Prometheus reads."""
    found = standing(service.store, service.models, service.company, service.clock())
    return Response(service.metrics.render(found), media_type=CONTENT_TYPE)


@router.get("/v1/status", response_model=Status, responses=documented(401, 403, 429, 503))
def get_status(request: Request, service: ServiceOf, principal: Reader) -> Response:  # noqa: ARG001
    """The age of the data, the last run and the last night, the models in use."""
    found = status(service.store, service.models, service.company, service.clock())
    return answered(request, found)
