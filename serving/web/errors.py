"""Errors as pages, for browsers; everybody else gets the problem as it is."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from serving.api.problems import instance_of
from serving.web.visit import here, page

_Handler = Callable[[Request, Any], Any]
#: Addresses of machines, whatever they accept.
_MACHINES = ("/v1/", "/static/", "/healthz", "/readyz", "/metrics", "/openapi.json")


def install(app: FastAPI) -> None:
    """Wrap the handlers that the app has: what they answer becomes a page where a person looks at it."""
    for error, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(error, _readable(handler))


def _readable(handler: _Handler) -> Callable[[Request, Any], Awaitable[Response]]:
    async def handle(request: Request, error: Any) -> Response:
        answer = await run_in_threadpool(handler, request, error)
        response: Response = await answer if inspect.isawaitable(answer) else answer
        if not _person(request) or response.status_code < 400:
            return response
        return await run_in_threadpool(_page, request, response)

    return handle


def _person(request: Request) -> bool:
    """Whether a browser shows the answer to somebody."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_MACHINES)


def _page(request: Request, response: Response) -> Response:
    status = response.status_code
    if status == 401:
        wanted = here(request)
        asked = f"?{urlencode({'next': wanted})}" if wanted != "/" else ""
        return RedirectResponse(f"/sign-in{asked}", 303, {"Cache-Control": "no-store"})
    made = page(request, "error", status, code=status, instance=instance_of(request))
    if "Retry-After" in response.headers:
        made.headers["Retry-After"] = response.headers["Retry-After"]
    return made
