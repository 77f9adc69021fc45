"""One visit: who reads, in which language, and where answers go back to."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from models.sentences import LANGUAGES, Language
from serving.api.dependencies import admitted
from serving.api.problems import Problem
from serving.principal import Principal, Scope
from serving.sign_in import local_path
from serving.web.rendering import respond
from serving.web.translate import N_, speech
from serving.web.view import Behind, Freshness, Reader

LANGUAGE_COOKIE = "kunto_language"
#: What is told at the top of the page after an action, by the code in its address.
_FLASHES = {
    "started": ("done", N_("The play has started.")),
    "runs": ("warn", N_("The play runs for this account already.")),
    "step": ("done", N_("Noted.")),
    "closed": ("done", N_("The play is closed.")),
    "told": ("done", N_("Thank you: it is kept with this score.")),
}


@dataclass(frozen=True)
class Flash:
    """One line on what has just been done; `kind` is done or warn."""

    kind: str
    text: str


def behind(request: Request) -> Behind:
    """The service."""
    found: Behind = request.app.state.service
    return found


def language(request: Request) -> Language:
    """The language chosen on the page, else the person's, else the company's."""
    principal: Principal | None = _state(request).get("principal")
    wanted = (request.cookies.get(LANGUAGE_COOKIE), principal.language if principal else None)
    company = behind(request).settings.language
    return next((known for given in wanted for known in LANGUAGES if known == given), company)


def reader(scope: Scope) -> Callable[[Request], Reader]:
    """A dependency: the person who reads, if they may; Problem 401, 403 otherwise."""

    def found(request: Request) -> Reader:
        return Reader(admitted(request, scope), language(request), str(_state(request).get("csrf") or ""))

    return found


def guard(known: Reader, csrf: str) -> None:
    """Problem 403 for a form that was not made for this session."""
    if not (known.csrf and hmac.compare_digest(known.csrf.encode(), csrf.encode(errors="replace"))):
        raise Problem(403, "foreign-form", "Foreign form", "the form was not made for this session: load the page again")


def page(request: Request, template: str, status: int = 200, *, known: Reader | None = None, **context: Any) -> Response:
    """Render a page with what every page shows."""
    spoken = known.language if known else language(request)
    kind, text = _FLASHES.get(request.query_params.get("done", ""), ("", ""))
    shared = {
        "reader": known,
        "signed_in": known is not None and behind(request).sign_in,
        "fresh": None,
        "flash": Flash(kind, speech(spoken).gettext(text)) if text else None,
        "here": here(request),
        "currency": behind(request).currency,
    }
    return respond(template, spoken, shared | context, status=status)


def freshness(service: Behind, view: Any) -> Freshness | None:
    """How fresh the figures of a view are now."""
    return Freshness.of(view, service.clock())


def here(request: Request) -> str:
    """This page's address, without what was told on it; for forms that come back, a safe page of this site."""
    if request.method != "GET":
        return "/"
    asked = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "done"])
    return f"{request.url.path}?{asked}" if asked else request.url.path


def back(wanted: str, done: str | None = None, part: str = "") -> Response:
    """Go back to a page of this site, and tell there what was done."""
    address = urlsplit(local_path(wanted))
    asked = [(name, value) for name, value in parse_qsl(address.query) if name != "done"]
    query = urlencode(asked + ([("done", done)] if done else []))
    place = f"{address.path or '/'}{'?' + query if query else ''}{'#' + part if part else ''}"
    return RedirectResponse(place, 303, {"Cache-Control": "no-store"})


def _state(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = request.scope.get("state", {})
    return found
