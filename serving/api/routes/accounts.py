"""`GET /v1/accounts…`: the portfolio, one account's picture, and what was said of it at any earlier time."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from serving.api.dependencies import LanguageOf, Limit, Place, PlaceOf, Reader, ServiceOf, TimesOf, only_own, own
from serving.api.paging import answered, body_of, encode, invalid, selected
from serving.api.problems import documented
from serving.api.schemas.accounts import AccountPage, AccountPicture, ScorePage
from serving.api.schemas.scored import FIELDS
from serving.api.schemas.words import AccountId as Id
from serving.api.schemas.words import Band, Language, Name, Stage, Tier
from serving.api.service import Service
from serving.picture import picture, scored, stored
from serving.portfolio import Filter, Sort, in_order, place
from serving.principal import Principal

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
AccountId = Annotated[Id, Path(description="the account's id in the source", examples=["A00257"])]


@router.get("", response_model=AccountPage, responses=documented(401, 403, 422, 429, 503))
def list_accounts(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    asked: PlaceOf,
    language: LanguageOf,
    csm: Name | None = None,
    band: Band | None = None,
    tier: Tier | None = None,
    stage: Stage | None = None,
    leaving: bool | None = None,
    disagreement: bool | None = None,
    playbook: Annotated[Name | None, Query(description="the play chosen; `nothing` too")] = None,
    name: Annotated[Name | None, Query(description="part of a name or id")] = None,
    sort: Sort = "urgency",
    fields: Annotated[str | None, Query(max_length=2000, description=f"of {', '.join(FIELDS)}", examples=["name,health"])] = None,
    limit: Limit = 50,
) -> Response:
    """The accounts of the portfolio as it stands, or stood at `as_of` / `known_at`: filtered, sorted, a page at a time."""
    if fields is not None:
        selected({}, fields, FIELDS)
    view = service.portfolio.at(as_of=asked.as_of, known_at=asked.known_at)
    if view is None:
        return answered(request, {"items": [], "next_cursor": None, "run_id": None, "total": 0})
    kept = Filter(csm, band, tier, stage, leaving, disagreement, playbook, name)
    mine = own(view, principal)
    lines = in_order([line for line in mine.lines.values() if kept.keeps(line)], sort)
    last = asked.line(mine)
    begin = 0 if last is None else sum(place(line, sort) <= place(last, sort) for line in lines)
    page = lines[begin : begin + limit]
    catalogue = service.catalogue
    records = service.portfolio.records(view.run.run_id, [line.account_id for line in page], catalogue, language)
    items = [selected(record, fields, FIELDS) for record in scored(service.store, records)]
    more = begin + limit < len(lines)
    content = {
        "items": items,
        "next_cursor": encode([view.run.finished_at, page[-1].account_id]) if more else None,
        "run_id": view.run.run_id,
        "total": len(lines),
    }
    return answered(request, content)


@router.get("/{account_id}", response_model=AccountPicture, responses=documented(401, 403, 404, 422, 429, 503))
def get_account(
    request: Request, service: ServiceOf, principal: Reader, account_id: AccountId, times: TimesOf, language: LanguageOf
) -> Response:
    """The account's whole picture: its standing score, the plays that competed, health over time, running plays, feedback."""
    catalogue = service.catalogue
    found = picture(service.store, service.portfolio, account_id, times.as_of, times.known_at, catalogue, language)
    only_own(principal, account_id, found["score"]["csm"])
    return answered(request, found)


@router.get("/{account_id}/scores", response_model=ScorePage, responses=documented(401, 403, 404, 422, 429, 503))
async def list_scores(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    account_id: AccountId,
    asked: PlaceOf,
    language: LanguageOf,
    limit: Limit = 50,
) -> Response:
    """Score history, oldest first; with `as_of` the one that speaks of that instant, with `known_at` the one that stood then."""
    asked_for = ("scores", account_id, asked.as_of, asked.known_at, asked.after, limit, language, principal.csm)
    models = service.models.current().wording  # it decides which features have names

    async def make() -> bytes:
        return await run_in_threadpool(_scores, service, principal, account_id, asked, language, limit)

    return answered(request, await service.answers.of((*asked_for, models), make))


def _scores(service: Service, principal: Principal, account_id: str, asked: Place, language: Language, limit: int) -> bytes:
    history = service.store.scores(account_id, as_of=asked.as_of, known_at=asked.known_at if asked.after is None else None)
    if history:
        only_own(principal, account_id, history[-1].record["csm"])
    begin = 0
    if asked.after is not None:
        if type(asked.after) is not int or asked.after < 0:
            raise invalid(asked.cursor)
        begin, then = asked.after, asked.known_at
        history = [score for score in history if then is None or score.known_at <= then]
    page = history[begin : begin + limit]
    catalogue = service.catalogue
    items: list[dict[str, Any]] = [stored(service.store, service.portfolio, score, catalogue, language) for score in page]
    more = begin + limit < len(history)
    known_at = max((score.known_at for score in history), default=None)
    return body_of({"items": items, "next_cursor": encode([known_at, begin + limit]) if more else None})
