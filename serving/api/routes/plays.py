"""`/v1/plays`: running playbooks – start one, complete a step, snooze, close with an outcome."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from models.playbooks import load
from serving.api.dependencies import Cursor, LanguageOf, Limit, PlaysWriter, Reader, ServiceOf, only_own, refusing
from serving.api.paging import answered, decode, encode
from serving.api.problems import Problem, documented
from serving.api.schemas import plays as schemas
from serving.api.schemas.plays import PlayChange, PlayStart
from serving.api.schemas.words import AccountId, Name, PlayState, RecordId
from serving.api.service import Service
from serving.picture import play_record
from serving.principal import Principal
from serving.store.play_records import Change, Closed, Play, Resumed, Snoozed, StepDone, StepUndone, UnknownPlayError

router = APIRouter(prefix="/v1/plays", tags=["plays"])
PlayId = Annotated[RecordId, Path(examples=["206bb7ee-489f-4f99-8e1b-27a66fec29d4"])]


@router.get("", response_model=schemas.PlayPage, responses=documented(401, 403, 422, 429, 503))
def list_plays(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    language: LanguageOf,
    account_id: AccountId | None = None,
    state: PlayState | None = None,
    playbook: Name | None = None,
    csm: Name | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Plays, the last started first."""
    if principal.csm is not None and csm not in (None, principal.csm):
        return answered(request, {"items": [], "next_cursor": None})
    after = None if cursor is None else str(decode(cursor, 1)[0])
    found = service.store.plays.list(account_id, state, playbook, principal.csm or csm, after=after, limit=limit + 1)
    items = [play_record(play, language) for play in found[:limit]]
    more = len(found) > limit
    return answered(request, {"items": items, "next_cursor": encode([found[limit - 1].play_id]) if more else None})


@router.post("", status_code=201, response_model=schemas.Play, responses=documented(400, 401, 403, 404, 409, 413, 422, 429, 503))
def start_play(request: Request, service: ServiceOf, principal: PlaysWriter, language: LanguageOf, asked: PlayStart) -> Response:
    """Start a playbook; 409 where it runs for the account already. The account's logged decision goes with the play."""
    only_own(principal, asked.account_id, service.store.csm_of(asked.account_id))
    if asked.playbook not in load():
        known = ", ".join(load())
        raise Problem(
            422, "unknown-playbook", "Unknown playbook", f"playbook {asked.playbook!r} is not in the catalogue: {known}"
        )
    with refusing():
        play = service.store.plays.start(
            asked.account_id,
            asked.playbook,
            principal,
            service.clock(),
            owner=asked.owner,
            started_at=asked.started_at,
            text=asked.note,
        )
    service.audit(request, "play.start", play.play_id)
    return answered(request, play_record(play, language), status=201, headers={"Location": f"/v1/plays/{play.play_id}"})


@router.get("/{play_id}", response_model=schemas.Play, responses=documented(401, 403, 404, 422, 429, 503))
def get_play(request: Request, service: ServiceOf, principal: Reader, language: LanguageOf, play_id: PlayId) -> Response:
    """One play as it stands."""
    found = _own_play(service, principal, play_id)
    return answered(request, play_record(found, language))


@router.patch("/{play_id}", response_model=schemas.Play, responses=documented(400, 401, 403, 404, 409, 413, 422, 429, 503))
def change_play(
    request: Request,
    service: ServiceOf,
    principal: PlaysWriter,
    language: LanguageOf,
    play_id: PlayId,
    asked: PlayChange,
) -> Response:
    """Change a play that is still of the version read; 409 names the version that it has."""
    _own_play(service, principal, play_id)
    with refusing():
        changed = service.store.plays.change(play_id, asked.version, _change(asked), principal, service.clock(), text=asked.note)
    service.audit(request, "play.change", play_id)
    return answered(request, play_record(changed, language))


def _own_play(service: Service, principal: Principal, play_id: str) -> Play:
    """The play, if its account is one of theirs; else as if there were none."""
    found = service.store.plays.get(play_id)
    if principal.csm not in (None, service.store.csm_of(found.account_id)):
        raise UnknownPlayError(play_id, service.store.where)
    return found


def _change(asked: PlayChange) -> Change:
    if asked.step_done is not None:
        return StepDone(asked.step_done)
    if asked.step_undone is not None:
        return StepUndone(asked.step_undone)
    if asked.snooze_until is not None:
        return Snoozed(asked.snooze_until)
    return Closed(asked.close) if asked.close is not None else Resumed()
