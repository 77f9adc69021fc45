"""`GET /v1/playbooks…`: the catalogue, and what each play has been seen to do."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from models.playbooks import Playbook, load
from models.sentences import Language
from serving.api.dependencies import LanguageOf, Reader, ServiceOf
from serving.api.paging import answered
from serving.api.problems import Problem, documented
from serving.api.schemas.playbooks import Effect, PlaybookPage
from serving.api.schemas.words import RecordId

router = APIRouter(prefix="/v1/playbooks", tags=["playbooks"])


@router.get("", response_model=PlaybookPage, responses=documented(401, 403, 422, 429, 503))
def list_playbooks(request: Request, principal: Reader, language: LanguageOf) -> Response:  # noqa: ARG001
    """The catalogue of playbooks."""
    items = [_told(book, language) for _, book in sorted(load().items())]
    return answered(request, {"items": items, "next_cursor": None})


@router.get("/{name}/effect", response_model=Effect, responses=documented(401, 403, 404, 422, 429, 503))
def get_playbook_effect(
    request: Request,
    service: ServiceOf,
    principal: Reader,  # noqa: ARG001
    name: Annotated[RecordId, Path(examples=["activation"])],
) -> Response:
    """The measured effect with its interval: none yet; how many choices fell into each arm, from which one will come."""
    book = load().get(name)
    if book is None:
        known = ", ".join(sorted(load()))
        raise Problem(404, "unknown-playbook", "Unknown playbook", f"there is no playbook {name!r}; known: {known}")
    arms = {arm: {"choices": c, "accounts": a} for arm, (c, a) in service.store.arms(name).items()}
    content = {
        "playbook": name,
        "state": "not_measured",
        "detail": "the stated effects are assumptions, halved in every choice until an effect has been measured",
        "stated": dict(book.effects),
        "arms": arms,
        "started": len(service.store.plays.list(playbook=name)),
        "difference": None,
        "low": None,
        "high": None,
    }
    return answered(request, content)


def _told(book: Playbook, language: Language) -> dict[str, Any]:
    declared = book.model_dump(include={"name", "outcome", "hours", "hold_out", "effects"})
    steps = [step.model_dump(exclude={"what"}) | {"what": getattr(step.what, language)} for step in book.steps]
    return declared | {
        "title": getattr(book.title, language),
        "goal": getattr(book.goal, language),
        "automatic": book.automatic,
        "trigger": book.trigger.model_dump(),
        "steps": steps,
    }
