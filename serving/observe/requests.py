"""Every request gets an id, is timed, counted and logged: a pure ASGI middleware, because it stands before every answer."""

import os
import re
from inspect import isawaitable
from time import perf_counter

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.observe.metrics import Metrics

_HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
#: Asked every few seconds by machines; their lines would drown the others.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
UNMATCHED = "unmatched"
#: As other servers log a client that left before its answer.
_CLIENT_LEFT = 499


class Observed:
    """Times, counts and logs every request, and answers with its `X-Request-Id` (a sane one that came in is kept).

    One line per request: id, method, route template, status, milliseconds, principal's id. Never a path, a query, a body or a
    name. An exception that nothing answered is logged with it, and answered by the app's handler of its kind: were it left to the
    server, that would log it again and close a connection on which the next request may be under way.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._log = structlog.get_logger("kunto.request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status, ended, failure = _CLIENT_LEFT, 0.0, None
        request_id = request_id_of(scope)
        header = (_HEADER, request_id.encode())

        async def sending(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)
            # What a response does after its last byte keeps nobody waiting.
            ended = perf_counter()

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            begun, status, failure = bool(ended), 500, error
            if begun or not await _answered(scope, receive, sending, error):
                raise
        finally:
            self._tell(scope, status, (ended or perf_counter()) - started, failure)
            structlog.contextvars.reset_contextvars(**bound)

    def _tell(self, scope: Scope, status: int, seconds: float, failure: Exception | None) -> None:
        route = route_template(scope)
        self._metrics.request(scope["method"], route, status, seconds)
        line = {"method": scope["method"], "route": route, "status": status, "duration_ms": round(seconds * 1000, 3)}
        state = scope["state"]
        if principal := state.get("principal"):
            line["principal"] = f"{principal.kind}:{principal.id}"
        if trace_id := state.get("trace_id"):
            line["trace_id"] = trace_id
        if failure is not None and status >= 500:
            self._log.error("request", exc_info=failure, **line)
        elif route in _QUIET and status < 400:
            self._log.debug("request", **line)
        else:
            self._log.info("request", **line)


async def _answered(scope: Scope, receive: Receive, send: Send, error: Exception) -> bool:
    """Answer as the app says; False where it says nothing."""
    handlers = getattr(scope.get("app"), "exception_handlers", {})
    handler = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    if handler is None:
        return False
    response = handler(Request(scope), error)
    if isawaitable(response):
        response = await response
    await response(scope, receive, send)
    return True


def request_id_of(scope: Scope) -> str:
    """The request's id, in `scope["state"]["request_id"]` from the first question on: a sane one that came in, or a new one.

    >>> request_id_of({"headers": [(b"x-request-id", b"job-7")]})
    'job-7'
    >>> len(request_id_of({"headers": [(b"x-request-id", b"two words")]}))
    16
    """
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        state["request_id"] = given.decode() if _SANE.fullmatch(given) else os.urandom(8).hex()
    found: str = state["request_id"]
    return found


def route_template(scope: Scope) -> str:
    """The route that took the request, as it is written in the code: it holds no id; "unmatched" where none did.

    >>> route_template({"path": "/v1/accounts/A1"})
    'unmatched'
    """
    # A route that an included router brought along knows its own part of the path alone.
    context = scope.get("fastapi", {}).get("effective_route_context")
    route = context if context is not None else scope.get("route")
    if route is not None:
        return str(getattr(route, "path_format", UNMATCHED))
    if "endpoint" not in scope:
        return UNMATCHED
    mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", "")) if "app_root_path" in scope else ""
    if mounted:
        return f"{mounted}/{{path}}"
    return UNMATCHED if scope.get("path_params") else str(scope["path"]).removeprefix(scope.get("root_path", ""))
