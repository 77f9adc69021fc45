"""The one shape of every error: problem+json (RFC 9457), with what was wrong, what was allowed and what to do next."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException as FastAPIHTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from serving.company import CompanyError
from serving.models_in_use import ModelsNotReadyError
from serving.store import StoreError, UnknownAccountError
from serving.store.errors import ConflictError, UnknownRecordError

MEDIA_TYPE = "application/problem+json"
_NAMESPACE = "urn:kunto:problem:"
#: A value that was refused is told up to this length.
_SHOWN = 120
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class ProblemDetail(BaseModel):
    """An error as RFC 9457 words it; `instance` is the request's id, under which the log tells more."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:kunto:problem:unknown-account",
                "title": "Unknown account",
                "status": 404,
                "detail": "account 'A9' is not in the store. Check the id; an account is known once it was scored.",
                "instance": "urn:request:6f1c2c1e",
            }
        },
    )

    type: str = Field(description="A name of the kind of problem, or about:blank where the status says it all")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What was wrong, what was allowed, and what to do next")
    instance: str | None = None


class Problem(FastAPIHTTPException):
    """Answered as problem+json with `status`; `kind` names it for machines, `extra` are further members.

    >>> Problem(404, "unknown-playbook", "Unknown playbook", "there is no playbook 'x'").body("urn:request:1")["type"]
    'urn:kunto:problem:unknown-playbook'
    """

    def __init__(
        self, status: int, kind: str | None, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))  # the framework passes its own kind on unchanged
        self.kind, self.title, self.extra = kind, title, extra

    def body(self, instance: str | None) -> dict[str, Any]:
        """The problem's members."""
        kind = f"{_NAMESPACE}{self.kind}" if self.kind else "about:blank"
        named = {"type": kind, "title": self.title, "status": self.status_code, "detail": self.detail, "instance": instance}
        return named | self.extra


def answer(problem: Problem, instance: str | None) -> Response:
    """The problem as a response."""
    return Response(to_json(problem.body(instance)), problem.status_code, problem.headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of an operation's errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error of the app, the framework's own included, in this shape."""
    app.add_exception_handler(Problem, lambda request, error: _answered(request, error))
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(ModelsNotReadyError, _not_ready)
    app.add_exception_handler(CompanyError, _company)
    app.add_exception_handler(Exception, _unexpected)


def instance_of(request: Request) -> str | None:
    """The request's id as a URI."""
    found = request.scope.get("state", {}).get("request_id")
    return f"urn:request:{found}" if found else None


def _answered(request: Request, problem: Any) -> Response:
    return answer(problem, instance_of(request))


def _framework(request: Request, error: Any) -> Response:
    phrase, headers = HTTPStatus(error.status_code).phrase, dict(error.headers or {})
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path[:_SHOWN]}; /openapi.json lists every call"
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not allowed here; allowed: {headers['Allow']}"
    else:
        detail = f"{error.detail}; /openapi.json says what this call takes"
    return _answered(request, Problem(error.status_code, None, phrase, detail, headers=headers))


def _allowed(request: Request) -> list[str]:
    """The methods that any route at this path has; the framework tells those of the first route alone."""
    asked = ({**request.scope, "method": method} for method in _METHODS)
    return [each["method"] for each in asked if any(route.matches(each)[0] is Match.FULL for route in request.app.routes)]


def _validation(request: Request, error: Any) -> Response:
    errors: Sequence[Any] = error.errors()
    told = [
        {"location": ".".join(map(str, each["loc"])), "message": each["msg"], "value": _shown(each.get("input"))}
        for each in errors
    ]
    first = told[0] if told else {"location": "body", "message": "cannot be read", "value": None}
    more = f" ({len(told) - 1} more in errors)" if len(told) > 1 else ""
    detail = f"{first['location']}: {first['message']}, got {first['value']}{more}; /openapi.json says what this call takes"
    return _answered(request, Problem(422, "invalid-request", "Invalid request", detail, errors=told))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _store(request: Request, error: Any) -> Response:
    if isinstance(error, UnknownAccountError):
        return _answered(request, Problem(404, "unknown-account", "Unknown account", error.told))
    if isinstance(error, UnknownRecordError):
        return _answered(request, Problem(404, "unknown-record", "Not found", error.told))
    if isinstance(error, ConflictError):
        return _answered(request, Problem(409, "conflict", "Conflict", error.told))
    structlog.get_logger("kunto.store").error("store_failed", error=str(error))
    detail = "the database cannot serve this request now; try again shortly, and tell the operator if it stays so"
    return _answered(request, Problem(503, "store-unavailable", "Store unavailable", detail, headers={"Retry-After": "5"}))


def _not_ready(request: Request, error: Any) -> Response:
    return _answered(request, Problem(503, "models-not-ready", "Models not ready", str(error), headers={"Retry-After": "5"}))


def _company(request: Request, error: Any) -> Response:
    structlog.get_logger("kunto.company").error("company_unusable", error=str(error))
    detail = "the company's tables cannot be used as they are; whoever runs the service sees why with `kunto check`"
    return _answered(request, Problem(503, "data-unusable", "Data unusable", detail, headers={"Retry-After": "300"}))


def _unexpected(request: Request, error: Any) -> Response:  # noqa: ARG001
    detail = "something went wrong on our side; the log has it under this instance"
    return _answered(request, Problem(500, None, HTTPStatus(500).phrase, detail))
