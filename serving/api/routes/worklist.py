"""`GET /v1/worklist`: what to do next, for whom, why, worth how much."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from serving.api.dependencies import LanguageOf, Limit, PlaceOf, Reader, ServiceOf, own
from serving.api.paging import answered, encode
from serving.api.problems import documented
from serving.api.schemas.accounts import Worklist
from serving.api.schemas.words import Name
from serving.picture import scored
from serving.portfolio import place
from serving.worklist import first_step, fitted, work

router = APIRouter(prefix="/v1", tags=["worklist"])
_NOBODY: dict[str, Any] = {
    "items": [],
    "next_cursor": None,
    "run_id": None,
    "as_of": None,
    "total": 0,
    "worth": 0.0,
    "hours_used": 0.0,
}


@router.get("/worklist", response_model=Worklist, responses=documented(401, 403, 422, 429, 503))
def get_worklist(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    asked: PlaceOf,
    language: LanguageOf,
    hours: Annotated[
        float | None, Query(ge=0, le=10_000, description="the time there is: the best set of plays that fits")
    ] = None,
    csm: Name | None = None,
    limit: Limit = 50,
) -> Response:
    """The plays worth doing now, most valuable first; plays that run already are not listed again."""
    view = service.portfolio.at(as_of=asked.as_of, known_at=asked.known_at)
    if view is None:
        return answered(request, _NOBODY)
    mine = own(view, principal)
    worth_doing = [line for line in mine.worth_doing() if csm in (None, line.csm)]
    todo = work(worth_doing, service.store.plays.running())
    listed = todo if hours is None else fitted(todo, hours)
    last = asked.line(mine)
    begin = 0 if last is None else sum(place(each.line, "urgency") <= place(last, "urgency") for each in listed)
    page = listed[begin : begin + limit]
    catalogue = service.catalogue
    records = service.portfolio.records(view.run.run_id, [each.line.account_id for each in page], catalogue, language)
    by_id = {record["account_id"]: record for record in scored(service.store, records)}
    items = [
        {
            **by_id[each.line.account_id],
            "rank": begin + number + 1,
            "title": getattr(each.playbook.title, language),
            "hours": each.playbook.hours,
            "first_step": first_step(each.playbook, view.run.as_of, language),
        }
        for number, each in enumerate(page)
        if each.line.account_id in by_id
    ]
    more = begin + limit < len(listed)
    content = {
        "items": items,
        "next_cursor": encode([view.run.finished_at, page[-1].line.account_id]) if more else None,
        "run_id": view.run.run_id,
        "as_of": view.run.as_of,
        "total": len(todo),
        "worth": sum(each.value for each in listed),
        "hours_used": sum(each.playbook.hours for each in listed) if hours is not None else 0.0,
    }
    return answered(request, content)
