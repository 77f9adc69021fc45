"""What routes ask for: the service, who asks and may, the times that a question is about, the language. All in this one place.

They are coroutines that wait for nothing: a plain function would be handed to a thread, and each hand-over costs more than the
question.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer

from serving.api.paging import MOST, invalid, known_then
from serving.api.problems import Problem
from serving.api.schemas.words import Language
from serving.api.service import Service
from serving.events import Instant
from serving.portfolio import View
from serving.principal import Principal, Scope
from serving.store import Line

_BEARER = HTTPBearer(auto_error=False, description="A key of `kunto key create`, with the scope that the call names")


async def service(request: Request) -> Service:
    """The process's service."""
    found: Service = request.app.state.service
    return found


def admitted(request: Request, scope: Scope) -> Principal:
    """Who asks, if they have the scope; Problem 401 for nobody, 403 for others."""
    found: Principal | None = request.scope.get("state", {}).get("principal")
    if found is None:
        raise Problem(
            401,
            "not-signed-in",
            "Not signed in",
            "send `Authorization: Bearer KEY` with a key of `kunto key create`, or sign in to the web app",
            headers={"WWW-Authenticate": 'Bearer realm="kunto"'},
        )
    if not found.may(scope):
        held = ", ".join(sorted(found.scopes)) or "none"
        raise Problem(
            403,
            "scope-missing",
            "Scope missing",
            f"this call needs the scope {scope}; yours: {held}. Ask an administrator for a key or role that has it",
            scope=scope,
        )
    return found


def may(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets in who has the scope, as `admitted` does."""

    async def principal(request: Request, _: Annotated[Any, Security(_BEARER)]) -> Principal:
        return admitted(request, scope)

    return principal


@dataclass(frozen=True)
class Times:
    """The two times of a question: what it speaks of, and when it stood; naive UTC."""

    as_of: datetime | None
    known_at: datetime | None


async def times(
    as_of: Annotated[
        Instant | None, Query(description="the score that speaks of this instant; UTC where no offset is given")
    ] = None,
    known_at: Annotated[Instant | None, Query(description="as it stood then: later runs never change this answer")] = None,
) -> Times:
    """Both times."""
    return Times(as_of, known_at)


@dataclass(frozen=True)
class Place(Times):
    """Which page of a list is asked for: `known_at` is then that of its first page, so that no run comes between the pages.

    `after` is what came last so far, None before the first page.
    """

    after: Any
    cursor: str

    def line(self, view: View) -> Line | None:
        """The account that came last; Problem 422 where the view has none such."""
        if self.after is None:
            return None
        if self.after not in view.lines:
            raise invalid(self.cursor)
        return view.lines[self.after]


async def place(
    times: Annotated[Times, Depends(times)],
    cursor: Annotated[str | None, Query(max_length=2000, description="next_cursor of the page before")] = None,
) -> Place:
    """The times, and where to go on."""
    if cursor is None:
        return Place(times.as_of, times.known_at, None, "")
    known_at, after = known_then(cursor)
    return Place(times.as_of, known_at, after, cursor)


async def spoken(request: Request, language: Annotated[Language | None, Query(description="of sentences")] = None) -> Language:
    """The language asked for, else the person's, else the company's."""
    person: Principal | None = request.scope.get("state", {}).get("principal")
    found: Service = request.app.state.service
    return found.language(language or (person.language if person else None))


def own(view: View, principal: Principal) -> View:
    """The view, narrowed to the accounts that the person is limited to."""
    if principal.csm is None:
        return view
    return View(view.run, {key: line for key, line in view.lines.items() if line.csm == principal.csm})


def only_own(principal: Principal, account_id: str, csm: str | None) -> None:
    """Problem 404, as for an unknown account, where the person is limited to others."""
    if principal.csm is not None and csm != principal.csm:
        raise unknown_account(account_id)


@contextmanager
def refusing() -> Iterator[None]:
    """Tell what the store refuses about a value as the asker's mistake."""
    try:
        yield
    except ValueError as error:
        raise Problem(422, "refused", "Refused", str(error)) from None


def unknown_account(account_id: str) -> Problem:
    """Told alike whether the account is not there or is not one's own."""
    return Problem(
        404,
        "unknown-account",
        "Unknown account",
        f"account {account_id[:200]!r} is not in the store; check the id: an account is known once it was scored",
    )


ServiceOf = Annotated[Service, Depends(service)]
TimesOf = Annotated[Times, Depends(times)]
PlaceOf = Annotated[Place, Depends(place)]
LanguageOf = Annotated[Language, Depends(spoken)]
Reader = Annotated[Principal, Depends(may("scores:read"))]
FeedbackWriter = Annotated[Principal, Depends(may("feedback:write"))]
PlaysWriter = Annotated[Principal, Depends(may("plays:write"))]
EventsWriter = Annotated[Principal, Depends(may("events:write"))]
Admin = Annotated[Principal, Depends(may("admin"))]
Limit = Annotated[int, Query(ge=1, le=MOST, description="how many items a page holds")]
Cursor = Annotated[str | None, Query(max_length=2000, description="next_cursor of the page before")]
