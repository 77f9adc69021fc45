"""The pages: *Today*, *Account*, signing in; and the choice of a language."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from models.calibration import too_little_evidence
from models.health import BANDS, NO_SCORE
from models.sentences import LANGUAGES
from serving.api.dependencies import unknown_account
from serving.principal import Principal
from serving.session_cookie import is_https
from serving.sign_in import local_path
from serving.web import charts
from serving.web.account import account
from serving.web.plays import offer
from serving.web.today import FEW, today
from serving.web.today import Query as Question
from serving.web.view import Reader, title
from serving.web.visit import LANGUAGE_COOKIE, back, behind, freshness, page, reader

router = APIRouter(include_in_schema=False)
Visitor = Annotated[Reader, Depends(reader("scores:read"))]
_YEAR_SECONDS = 365 * 86_400
_PROBLEMS = ("wrong", "throttled", "link", "oidc", "signed-out")
_Text = Annotated[str, Query(max_length=200)]


@router.get("/")
def show_today(request: Request, known: Visitor) -> Response:
    """*Today*."""
    service = behind(request)
    view = service.portfolio.at()
    found = today(service, view, known, Question.of(request.query_params)) if view else None
    return page(
        request,
        "today",
        known=known,
        fresh=freshness(service, view),
        page=found,
        few=FEW,
        offer=offer,
        interval=charts.interval,
    )


@router.get("/accounts/{account_id:path}")
def show_account(request: Request, known: Visitor, account_id: str, as_of: _Text = "", known_at: _Text = "") -> Response:
    """*Account*, with what was said earlier where a day is asked for."""
    service = behind(request)
    view = service.portfolio.at()
    wrong_day = False
    try:
        found = account(service, view, known, account_id, as_of=as_of, known_at=known_at)
    except (ValueError, OverflowError):
        wrong_day, found = True, account(service, view, known, account_id)
    if found is None:
        raise unknown_account(account_id)
    return page(
        request,
        "account",
        known=known,
        fresh=freshness(service, view),
        page=found,
        wrong_day=wrong_day,
        may_play=known.principal.may("plays:write"),
        may_tell=known.principal.may("feedback:write"),
        interval=charts.interval,
        too_little_evidence=too_little_evidence,
        band_of=_band_of,
        title=title,
        no_score=NO_SCORE,
    )


def _band_of(points: float) -> str:
    return next(name for name, lowest in BANDS if round(points) >= lowest)


@router.get("/sign-in")
def show_sign_in(
    request: Request,
    wanted: Annotated[str, Query(alias="next", max_length=2000)] = "",
    problem: _Text = "",
    reason: _Text = "",
) -> Response:
    """The page on which people sign in; those who have go on."""
    principal: Principal | None = request.scope.get("state", {}).get("principal")
    place = local_path(wanted)
    if principal is not None and not problem:
        return RedirectResponse(place, 303)
    told = "unknown" if reason == "unknown" else problem if problem in _PROBLEMS else ""
    oidc = behind(request).settings.oidc is not None
    return page(request, "sign_in", problem=told, next=place, oidc=oidc)


@router.post("/language")
def choose_language(
    request: Request, language: Annotated[str, Form()] = "", wanted: Annotated[str, Form(alias="next")] = ""
) -> Response:
    """Keep the language in this browser, and go back."""
    response = back(wanted)
    if language in LANGUAGES:
        secure = is_https(behind(request).settings.base_url)
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_SECONDS, secure=secure, httponly=True, samesite="lax")
    return response
