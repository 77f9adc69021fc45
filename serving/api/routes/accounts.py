"""`GET /v1/accounts…`: the portfolio, one account's picture, and what was said of it at any earlier time."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from serving.api.dependencies import Cursor, LanguageOf, Limit, Reader, ServiceOf, TimesOf, only_own, own
from serving.api.paging import answered, decode, encode, selected
from serving.api.problems import documented
from serving.api.schemas.accounts import AccountPage, AccountPicture, ScorePage
from serving.api.schemas.scored import FIELDS
from serving.picture import picture, scored, stored
from serving.portfolio import Filter, Sort, in_order

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
AccountId = Annotated[str, Path(min_length=1, max_length=200, description="the account's id in the source", examples=["A00257"])]


@router.get("", response_model=AccountPage, responses=documented(401, 403, 422, 429, 503))
def accounts(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    times: TimesOf,
    language: LanguageOf,
    csm: Annotated[str | None, Query(max_length=200)] = None,
    band: Annotated[str | None, Query(pattern="^(healthy|neutral|at_risk|critical)$")] = None,
    tier: Annotated[str | None, Query(pattern="^(strategic|key|developing|low_value)$")] = None,
    stage: Annotated[str | None, Query(max_length=40)] = None,
    leaving: bool | None = None,
    disagreement: bool | None = None,
    playbook: Annotated[str | None, Query(max_length=64, description="the play chosen; `nothing` too")] = None,
    name: Annotated[str | None, Query(max_length=200, description="part of a name or id")] = None,
    sort: Sort = "urgency",
    fields: Annotated[str | None, Query(max_length=2000, description=f"of {', '.join(FIELDS)}")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The accounts of the portfolio as it stands, or stood at `as_of` / `known_at`: filtered, sorted, a page at a time."""
    if fields is not None:
        selected({}, fields, FIELDS)
    view = service.portfolio.at(as_of=times.as_of, known_at=times.known_at)
    if view is None:
        return answered(request, {"items": [], "next_cursor": None, "run_id": None, "total": 0})
    kept = Filter(csm, band, tier, stage, leaving, disagreement, playbook, name)
    lines = in_order([line for line in own(view, principal).lines.values() if kept.keeps(line)], sort)
    # a cursor names its run: pages of one list stay those of one run, whatever finishes meanwhile
    begin = 0
    if cursor is not None:
        run_id, last = decode(cursor, 2)
        if run_id == view.run.run_id:
            begin = next((n + 1 for n, line in enumerate(lines) if line.account_id == last), len(lines))
        else:
            begin = len(lines)
    page = lines[begin : begin + limit]
    catalogue = service.catalogue
    records = service.portfolio.records(view.run.run_id, [line.account_id for line in page], catalogue, language)
    items = [selected(record, fields, FIELDS) for record in scored(service.store, records)]
    more = begin + limit < len(lines)
    content = {
        "items": items,
        "next_cursor": encode([view.run.run_id, page[-1].account_id]) if more else None,
        "run_id": view.run.run_id,
        "total": len(lines),
    }
    return answered(request, content)


@router.get("/{account_id}", response_model=AccountPicture, responses=documented(401, 403, 404, 422, 429, 503))
def account(
    request: Request, service: ServiceOf, principal: Reader, account_id: AccountId, times: TimesOf, language: LanguageOf
) -> Response:
    """The account's whole picture: its standing score, the plays that competed, health over time, running plays, feedback."""
    catalogue = service.catalogue
    found = picture(service.store, service.portfolio, account_id, times.as_of, times.known_at, catalogue, language)
    only_own(principal, account_id, found["score"]["csm"])
    return answered(request, found)


@router.get("/{account_id}/scores", response_model=ScorePage, responses=documented(401, 403, 404, 422, 429, 503))
def scores(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    account_id: AccountId,
    times: TimesOf,
    language: LanguageOf,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Score history, oldest first; with `as_of` the one that speaks of that instant, with `known_at` the one that stood then."""
    history = service.store.scores(account_id, as_of=times.as_of, known_at=times.known_at)
    if history:
        only_own(principal, account_id, history[-1].record["csm"])
    begin = int(_position(cursor))
    page = history[begin : begin + limit]
    catalogue = service.catalogue
    items: list[dict[str, Any]] = [stored(service.store, service.portfolio, score, catalogue, language) for score in page]
    more = begin + limit < len(history)
    return answered(request, {"items": items, "next_cursor": encode([begin + limit]) if more else None})


def _position(cursor: str | None) -> int:
    # history only grows at its end, so a position in it stays
    found = 0 if cursor is None else decode(cursor, 1)[0]
    return found if isinstance(found, int) and 0 <= found < 2**31 else decode("", 1)[0]
