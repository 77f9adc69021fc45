"""`POST /v1/accounts/{id}/feedback`: a person marks a reason useful, known or wrong, or gives a score of their own."""

from fastapi import APIRouter, Request, Response

from serving.api.dependencies import FeedbackWriter, ServiceOf, only_own, refusing
from serving.api.paging import answered
from serving.api.problems import documented
from serving.api.routes.accounts import AccountId
from serving.api.schemas.plays import FeedbackGiven, FeedbackKept

router = APIRouter(prefix="/v1/accounts", tags=["feedback"])


@router.post(
    "/{account_id}/feedback",
    status_code=201,
    response_model=FeedbackKept,
    responses=documented(400, 401, 403, 404, 413, 422, 429, 503),
)
def give_feedback(
    request: Request, service: ServiceOf, principal: FeedbackWriter, account_id: AccountId, given: FeedbackGiven
) -> Response:
    """Keep what was said; nothing is rewritten, and the manual score stands beside the computed one until it expires."""
    only_own(principal, account_id, service.store.csm_of(account_id))
    store, at = service.store.feedback, service.clock()
    kept, manual = None, None
    with refusing():
        if given.verdict is not None:
            kept = store.give(
                account_id, given.verdict, principal, driver=given.driver, as_of=given.as_of, text=given.note, at=at
            )
        elif given.manual_score is not None:
            wanted = given.manual_score
            manual = store.set_manual_score(account_id, wanted.score, wanted.reason, wanted.expires_at, principal, at=at)
    service.audit(request, "feedback.give", None)
    return answered(request, {"feedback": kept, "manual_score": manual}, status=201)
