"""Before any route: who asks, how often they may, and how much they may send (a pure ASGI middleware, for its speed)."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.problems import Problem, answer, instance_of
from serving.api.service import Service
from serving.principal import ROLE_SCOPES, Principal
from serving.session_cookie import same_origin, session_token

_UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})
_STATIC = "/static/"
_EVENTS = "/v1/events"
#: A number of more digits is larger than any limit, and may be too long to be read.
_DIGITS = 18
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_VISITOR = Principal("user", "visitor", "this machine", ROLE_SCOPES["csm"], "csm")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Names the principal (`scope["state"]["principal"]`, None where nobody signed in), and keeps rates and sizes.

    Rates are counted per worker process and minute by minute; every answer says how much is left (`RateLimit-*`).
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        settings = service.settings
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._rate, self._anonymous_rate = parse(settings.rate), parse(settings.anonymous_rate)
        self._csrf = secrets.token_urlsafe()
        self._body_limit, self._events_body_limit = settings.body_limit, settings.events_body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with a problem."""
        if scope["type"] != "http" or scope["path"] in _UNLIMITED or scope["path"].startswith(_STATIC):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        state = scope.setdefault("state", {})
        headers: Mapping[str, str] = {}
        try:
            principal = await self._principal(request)
            state["principal"] = principal
            headers = self._count(request, principal)
            receive = self._bounded(request, receive)
        except Problem as problem:
            await answer(problem, instance_of(request))(scope, receive, _with(headers, send))
            return
        await self._app(scope, receive, _with(headers, send))

    async def _principal(self, request: Request) -> Principal | None:
        keys, sessions = self._service.keys, self._service.sessions
        given = request.headers.get("authorization")
        if given is not None:
            kind, _, text = given.partition(" ")
            known = keys.cached(text) if kind.lower() == "bearer" else None
            found = known or (await run_in_threadpool(keys.principal, text) if kind.lower() == "bearer" else None)
            if found is None:
                # Guessing counts against the address like any anonymous request.
                self._count(request, None)
                raise Problem(
                    401,
                    "not-known",
                    "Not signed in",
                    "the key in the Authorization header is unknown, expired or revoked; send `Authorization: Bearer KEY` with a "
                    "key of `kunto key create`",
                    headers={"WWW-Authenticate": 'Bearer realm="kunto", error="invalid_token"'},
                )
            return found
        token = session_token(request)
        if token is None:
            return self._visitor(request)
        person = sessions.cached(token) or await run_in_threadpool(sessions.principal, token)
        if person is not None:
            request.scope["state"]["csrf"] = sessions.csrf(token)
            if (
                request.method not in _SAFE
                and request.url.path.startswith("/v1/")
                and not same_origin(request.headers, self._service.settings.base_url)
            ):
                raise Problem(
                    403,
                    "foreign-origin",
                    "Foreign origin",
                    "a session's cookie is taken from Kunto's own pages alone; other systems send `Authorization: Bearer KEY`",
                )
        return person

    def _visitor(self, request: Request) -> Principal | None:
        """Whoever reads the pages on this machine, where they are open to them; the API asks for a key all the same.

        The name asked must be this machine's: a page elsewhere could have its own name point here.
        """
        if self._service.sign_in or request.url.path.startswith("/v1/") or request.url.hostname not in _THIS_MACHINE:
            return None
        request.scope["state"]["csrf"] = self._csrf
        return _VISITOR

    def _count(self, request: Request, principal: Principal | None) -> dict[str, str]:
        """Count the request and return the headers that tell its rate; Problem 429 past it."""
        limit: RateLimitItem = self._rate if principal else self._anonymous_rate
        who = f"{principal.kind}:{principal.id}" if principal else f"address:{request.client.host if request.client else '-'}"
        passed = self._limiter.hit(limit, who)
        window = self._limiter.get_window_stats(limit, who)
        reset = max(0, round(window.reset_time - time.time()))
        headers = {
            "RateLimit-Limit": str(limit.amount),
            "RateLimit-Remaining": str(window.remaining),
            "RateLimit-Reset": str(reset),
            "RateLimit-Policy": f"{limit.amount};w={limit.get_expiry()}",
        }
        if not passed:
            raise Problem(
                429,
                "too-many-requests",
                "Too many requests",
                f"more than {limit.amount} requests in {limit.get_expiry()} s; go on in {reset} s",
                headers=headers | {"Retry-After": str(max(reset, 1))},
            )
        return headers

    def _bounded(self, request: Request, receive: Receive) -> Receive:
        """A receive that refuses a body past the limit, told or not told by Content-Length."""
        limit = self._events_body_limit if request.url.path == _EVENTS else self._body_limit
        told = request.headers.get("content-length")
        if told is not None and told.isdecimal() and (len(told) > _DIGITS or int(told) > limit):
            raise _too_large(limit)
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise _too_large(limit)
            return message

        return bounded


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "Body too large",
        f"the body is longer than {limit} bytes; send it in parts (events: as NDJSON), or raise service.body_limit in kunto.toml",
    )


def _with(headers: Mapping[str, str], send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = MutableHeaders(scope=message)
            for name, value in headers.items():
                own[name] = value
        await send(message)

    return sending
