"""`GET /v1/signals`: what was raised by the run that stands, and how often each rule fired."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from serving.api.dependencies import Limit, PlaceOf, Reader, ServiceOf, own
from serving.api.paging import answered, encode
from serving.api.problems import documented
from serving.api.schemas.signals import SignalPage

router = APIRouter(prefix="/v1", tags=["signals"])
BAND_CHANGED = "band_changed"


@router.get("/signals", response_model=SignalPage, responses=documented(401, 403, 422, 429, 503))
def list_signals(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    asked: PlaceOf,
    rule: Annotated[str | None, Query(pattern="^band_changed$", description="the one rule there is yet")] = None,  # noqa: ARG001
    limit: Limit = 50,
) -> Response:
    """Accounts whose health band changed with the run that stands; other rules of the catalogue do not fire yet."""
    view = service.portfolio.at(as_of=asked.as_of, known_at=asked.known_at)
    if view is None:
        return answered(request, {"items": [], "next_cursor": None, "ledger": []})
    mine = own(view, principal)
    changed = service.portfolio.band_changes(view)
    raised = sorted(
        ((line, band) for line, band in changed if line.account_id in mine.lines), key=lambda each: each[0].account_id
    )
    last = asked.line(mine)
    begin = 0 if last is None else sum(line.account_id <= last.account_id for line, _ in raised)
    page = raised[begin : begin + limit]
    items = [
        {
            "rule": BAND_CHANGED,
            "account_id": line.account_id,
            "raised_at": view.run.finished_at,
            "as_of": view.run.as_of,
            "detail": {"from": band, "to": line.band, "health": line.health_score},
        }
        for line, band in page
    ]
    more = begin + limit < len(raised)
    content = {
        "items": items,
        "next_cursor": encode([view.run.finished_at, page[-1][0].account_id]) if more else None,
        "ledger": [{"rule": BAND_CHANGED, "fired": len(raised)}],
    }
    return answered(request, content)
