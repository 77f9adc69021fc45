"""What can be done with the client of `make client`, with its types; the tests run and type-check this file."""

from collections.abc import Iterator
from datetime import UTC, datetime

from kunto_client import AuthenticatedClient
from kunto_client.api.accounts import get_account, list_accounts
from kunto_client.api.events import send_events
from kunto_client.api.feedback import give_feedback
from kunto_client.api.plays import change_play, start_play
from kunto_client.api.scoring import score_accounts, what_if
from kunto_client.api.worklist import get_worklist
from kunto_client.models import (
    AccountPage,
    AccountPicture,
    AccountToScore,
    Band,
    ChosenFields,
    EventsAnswer,
    EventsRequest,
    Features,
    FeedbackGiven,
    FeedbackKept,
    ListAccountsSort,
    Play,
    PlayChange,
    PlayOutcome,
    PlayStart,
    PlayState,
    ProblemDetail,
    ScoreAnswer,
    ScoredAccount,
    ScoredItem,
    ScoreRequest,
    UsageEvent,
    Verdict,
    WhatIfAnswer,
    WhatIfRequest,
    Worklist,
    WorklistItem,
)
from kunto_client.types import UNSET


class Refused(Exception):
    """The service answered with a problem; the message is what it says to do."""


def portfolio(client: AuthenticatedClient, band: Band | None = None, limit: int = 50) -> Iterator[ScoredAccount]:
    """Every account, page by page."""
    cursor = None
    while True:
        page = list_accounts.sync(client=client, band=band or UNSET, limit=limit, cursor=cursor, sort=ListAccountsSort.ARR)
        if not isinstance(page, AccountPage):
            raise Refused(page)
        for account in page.items:
            assert isinstance(account, ScoredAccount)
            yield account
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def bands(client: AuthenticatedClient, limit: int) -> dict[str, object]:
    """Account id → health, of those members alone."""
    page = list_accounts.sync(client=client, fields="health", limit=limit)
    assert isinstance(page, AccountPage)
    return {chosen.account_id: chosen["health"] for chosen in page.items if isinstance(chosen, ChosenFields)}


def score(client: AuthenticatedClient, **features: float) -> ScoredItem:
    """One account by its features."""
    body = ScoreRequest(accounts=[AccountToScore(features=Features.from_dict(features))])
    answer = score_accounts.sync(client=client, body=body)
    if not isinstance(answer, ScoreAnswer):
        raise Refused(answer)
    if answer.errors:
        raise Refused(answer.errors[0].detail)
    return answer.items[0]


def difference(client: AuthenticatedClient, account_id: str, **features: float) -> list[float]:
    """How each predicted probability would change."""
    answer = what_if.sync(account_id, client=client, body=WhatIfRequest(features=Features.from_dict(features)))
    assert isinstance(answer, WhatIfAnswer)
    return [each.change for each in answer.difference.predictions or []]


def best_work(client: AuthenticatedClient, hours: float) -> list[WorklistItem]:
    """What fits into the time there is."""
    found = get_worklist.sync(client=client, hours=hours)
    assert isinstance(found, Worklist)
    assert found.hours_used <= hours
    return found.items


def done(client: AuthenticatedClient, item: WorklistItem) -> Play:
    """Start the play of an item, and close it."""
    play = start_play.sync(client=client, body=PlayStart(account_id=str(item.account_id), playbook=item.play.name))
    if isinstance(play, ProblemDetail):
        raise Refused(play.detail)
    assert play is not None
    assert play.state is PlayState.RUNNING
    assert abs(play.started_at - datetime.now(UTC)).days == 0  # instants have their zone
    change = PlayChange(version=play.version, close=PlayOutcome.GOAL_REACHED, note="They are back")
    closed = change_play.sync(play.play_id, client=client, body=change)
    assert isinstance(closed, Play)
    return closed


def marked(client: AuthenticatedClient, account_id: str, driver: str) -> FeedbackKept:
    """Mark a reason as known."""
    kept = give_feedback.sync(account_id, client=client, body=FeedbackGiven(verdict=Verdict.KNOWN, driver=driver))
    if not isinstance(kept, FeedbackKept):
        raise Refused(kept)
    return kept


def told(client: AuthenticatedClient, account_id: str, event_id: str) -> EventsAnswer:
    """Tell of a use."""
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    event = UsageEvent(event_id=event_id, table="usage", account_id=account_id, feature="reports", occurred_at=at)
    answer = send_events.sync(client=client, body=EventsRequest(events=[event]), idempotency_key=event_id)
    if not isinstance(answer, EventsAnswer):
        raise Refused(answer)
    return answer


def picture(client: AuthenticatedClient, account_id: str) -> AccountPicture:
    """Everything about an account; Refused where there is none such."""
    return _found(get_account.sync(account_id, client=client))


async def picture_later(client: AuthenticatedClient, account_id: str) -> AccountPicture:
    """The same, for those who wait."""
    return _found(await get_account.asyncio(account_id, client=client))


def _found(answer: AccountPicture | ProblemDetail | None) -> AccountPicture:
    if isinstance(answer, ProblemDetail):
        raise Refused(f"{answer.status} {answer.title}: {answer.detail}")
    assert answer is not None
    return answer
