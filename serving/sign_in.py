"""Signing in to the web app and out of it: by password, by the identity provider, by a link; the page is the web's.

A sign-in that is refused goes back to `/sign-in?problem=` with `wrong`, `throttled` (and `wait`, in seconds), `link` or
`oidc` (and `reason`: `unknown` for somebody whom Kunto does not let in, `failed` for everything else), and `next`.
"""

from datetime import datetime
from typing import Annotated, cast
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, FastAPI, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Secret
from starlette.responses import RedirectResponse, Response

from serving.api.problems import Problem
from serving.api.service import Service
from serving.oidc import CALLBACK, START, OidcError, OidcState, Provider
from serving.principal import Role
from serving.session_cookie import clear_session, same_origin, session_token, set_session
from serving.settings import ServiceSettings
from serving.store.access import Access
from serving.store.access_records import SignInError

router = APIRouter()
_HOME = "/"


def install(app: FastAPI, settings: ServiceSettings) -> None:
    """Make the app ready for the identity provider, where there is one; `app.state.service` is there already."""
    if settings.oidc is not None:
        access: Access = app.state.service.store.access
        app.state.oidc = Provider(settings.oidc, settings.base_url)
        app.add_middleware(OidcState, secret=Secret(access.secret("oidc_state")), settings=settings)


@router.post("/sign-in")
def sign_in(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    wanted: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Sign a person in by name and password."""
    _refuse_foreign(request)
    service = _service(request)
    at = service.clock()
    try:
        token = service.store.access.sign_in(name, password, at, service.settings.session_hours)
    except SignInError as error:
        return _refused(request, "sign_in.password", error, at, wanted)
    return _let_in(request, "sign_in.password", token, at, wanted)


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    _refuse_foreign(request)
    service, token = _service(request), session_token(request)
    if token is not None:
        person = service.sessions.principal(token)
        service.sessions.sign_out(token)
        if person is not None:
            service.store.access.audit(person, "sign_out", request_id=_request_id(request), at=service.clock())
    response = _redirect("/sign-in")
    clear_session(response, service.settings)
    return response


@router.get("/welcome")
def welcome(request: Request, token: str = "") -> Response:
    """Sign the person in whom a link was made for; it works once."""
    service = _service(request)
    at = service.clock()
    try:
        session = service.store.access.redeem_link(token, at, service.settings.session_hours)
    except SignInError as error:
        return _refused(request, "sign_in.link", error, at, "")
    return _let_in(request, "sign_in.link", session, at, "")


@router.get(START)
async def start_oidc(request: Request, next: str = "") -> Response:
    """Send the person to the identity provider."""
    provider = _provider(request)
    try:
        response = await provider.start(request)
    except OidcError as error:
        return _not_identified(error, next)
    request.session["next"] = local_path(next)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get(CALLBACK)
async def finish_oidc(request: Request) -> Response:
    """Sign the person in whom the identity provider sends back."""
    provider = _provider(request)
    wanted = str(request.session.pop("next", ""))
    try:
        identity = await provider.finish(request)
    except OidcError as error:
        return _not_identified(error, wanted)
    service = _service(request)
    at, oidc = service.clock(), service.settings.oidc
    new_users = cast(Role, oidc.new_users) if oidc is not None and oidc.new_users else None
    by_provider = service.store.access.sign_in_by_provider
    try:
        token = await run_in_threadpool(by_provider, identity, at, service.settings.session_hours, new_users)
    except SignInError as error:
        return await run_in_threadpool(_refused, request, "sign_in.oidc", error, at, wanted)
    return await run_in_threadpool(_let_in, request, "sign_in.oidc", token, at, wanted)


def local_path(wanted: str) -> str:
    """Return where to go after signing in: `wanted` where that is a path of this site, else the first page.

    >>> local_path("/accounts/a1?days=30"), local_path("https://evil.example"), local_path("//evil.example")
    ('/accounts/a1?days=30', '/', '/')
    """
    # Browsers read a backslash as a slash, and leave out tabs and line breaks before they look for the host.
    outside = not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or not wanted.isprintable()
    return _HOME if outside else wanted


def _let_in(request: Request, action: str, token: str, at: datetime, wanted: str) -> Response:
    service = _service(request)
    person = service.store.access.principal_of_session(token, at)
    service.store.access.audit(person or "anonymous", action, request_id=_request_id(request), at=at)
    response = _redirect(local_path(wanted))
    set_session(response, token, service.settings)
    return response


def _refused(request: Request, action: str, error: SignInError, at: datetime, wanted: str) -> Response:
    # the failures before it are in the log: what is held up must not fill it
    if error.refusal != "throttled":
        aimed_at = None if error.user_id is None else f"user:{error.user_id}"
        access = _service(request).store.access
        access.audit("anonymous", action, aimed_at, outcome=error.refusal, request_id=_request_id(request), at=at)
    if error.refusal == "unknown":
        return _back(wanted, problem="oidc", reason="unknown")
    return _back(wanted, problem=error.refusal, **({"wait": str(error.wait_s)} if error.wait_s else {}))


def _not_identified(error: OidcError, wanted: str) -> Response:
    structlog.get_logger("kunto.access").warning("oidc_failed", error=str(error))
    return _back(wanted, problem="oidc", reason="failed")


def _back(wanted: str, **told: str) -> Response:
    path = local_path(wanted)
    return _redirect("/sign-in?" + urlencode(told | ({} if path == _HOME else {"next": path})))


def _redirect(path: str) -> Response:
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


def _refuse_foreign(request: Request) -> None:
    """Problem 403 for a form that another site's page sends: it could sign a person in under a stranger's name."""
    if not same_origin(request.headers, _service(request).settings.base_url):
        raise Problem(
            403, "foreign-origin", "Foreign origin", "sign in and out on Kunto's own pages; this form came from elsewhere"
        )


def _provider(request: Request) -> Provider:
    found: Provider | None = getattr(request.app.state, "oidc", None)
    if found is None:
        raise Problem(
            404, "no-identity-provider", "No identity provider", "sign in by name and password; kunto.toml has no [service.oidc]"
        )
    return found


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)
