"""What people do on the pages: start a play, take its steps, close it, say what they think of a reason."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from serving.api.dependencies import refusing, unknown_account
from serving.store.errors import ConflictError
from serving.store.feedback import Verdict
from serving.store.play_records import Change, Closed, Outcome, StepDone, StepUndone, UnknownPlayError
from serving.web.view import Reader
from serving.web.visit import back, behind, guard, reader

router = APIRouter(include_in_schema=False)
Player = Annotated[Reader, Depends(reader("plays:write"))]
Teller = Annotated[Reader, Depends(reader("feedback:write"))]
_Csrf = Annotated[str, Form()]
_Next = Annotated[str, Form(alias="next", max_length=2000)]
_Written = Annotated[str, Form(max_length=2000)]


@router.post("/plays")
def start(
    request: Request,
    known: Player,
    account_id: Annotated[str, Form()],
    playbook: Annotated[str, Form()],
    csrf: _Csrf = "",
    wanted: _Next = "/",
) -> Response:
    """Start a playbook for an account, from today."""
    guard(known, csrf)
    _own_account(request, known, account_id)
    service = behind(request)
    try:
        with refusing():
            play = service.store.plays.start(account_id, playbook, known.principal, service.clock(), owner=known.principal.id)
    except ConflictError:
        return back(wanted, "runs")
    service.audit(request, "play.start", play.play_id)
    return back(wanted, "started")


@router.post("/plays/{play_id}/steps")
def take_step(
    request: Request,
    known: Player,
    play_id: str,
    step: Annotated[int, Form()],
    version: Annotated[int, Form()],
    done: Annotated[str, Form()] = "",
    csrf: _Csrf = "",
    wanted: _Next = "/",
) -> Response:
    """Tick a step off (`done`), or take the tick back."""
    _change(request, known, csrf, play_id, version, StepDone(step) if done else StepUndone(step))
    return back(wanted, "step", "plays")


@router.post("/plays/{play_id}/close")
def close(
    request: Request,
    known: Player,
    play_id: str,
    outcome: Annotated[Outcome, Form()],
    version: Annotated[int, Form()],
    text: _Written = "",
    csrf: _Csrf = "",
    wanted: _Next = "/",
) -> Response:
    """Close a play, and say how it ended."""
    _change(request, known, csrf, play_id, version, Closed(outcome), text)
    return back(wanted, "closed", "plays")


@router.post("/feedback")
def tell(
    request: Request,
    known: Teller,
    account_id: Annotated[str, Form()],
    driver: Annotated[str, Form()],
    verdict: Annotated[Verdict, Form()],
    run_id: Annotated[str, Form()],
    text: _Written = "",
    csrf: _Csrf = "",
    wanted: _Next = "/",
) -> Response:
    """Keep what somebody thinks of a reason, with the score that they saw."""
    guard(known, csrf)
    _own_account(request, known, account_id)
    service = behind(request)
    with refusing():
        service.store.feedback.give(
            account_id, verdict, known.principal, driver=driver, run_id=run_id, text=text or None, at=service.clock()
        )
    service.audit(request, "feedback.give", None)
    return back(wanted, "told", "reasons")


def _own_account(request: Request, known: Reader, account_id: str) -> None:
    """Problem 404 where the account is not theirs."""
    if not known.sees(behind(request).store.csm_of(account_id)):
        raise unknown_account(account_id)


def _change(request: Request, known: Reader, csrf: str, play_id: str, version: int, change: Change, text: str = "") -> None:
    guard(known, csrf)
    service = behind(request)
    play = service.store.plays.get(play_id)
    if not known.sees(service.store.csm_of(play.account_id)):
        raise UnknownPlayError(play_id, service.store.where)
    with refusing():
        service.store.plays.change(play_id, version, change, known.principal, service.clock(), text=text or None)
    service.audit(request, "play.change", play_id)
