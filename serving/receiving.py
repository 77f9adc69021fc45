"""Receiving events from another system: a body of any length, read and committed some thousand events at a time.

What was committed stays, whatever happens to the rest; the answer is given when all of it is. So a request that was not
answered is sent again, whole: what had come in before is absorbed as duplicates.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool

from serving import events
from serving.store.instants import now
from serving.store.intake import Intake
from serving.store.intake_records import Answered, Claim, ClaimLostError, Event, InProgress

BodyFormat = Literal["ndjson", "json"]
#: Events of one transaction: enough that its cost is small beside theirs, few enough that other writers wait a blink.
BATCH = 2_000
#: The longest line of NDJSON, in bytes.
LONGEST_LINE = 65_536
#: Refused events told one by one, and unknown accounts counted; beyond these only the number grows, or nothing.
MOST_REJECTED, MOST_UNKNOWN = 100, 10_000
_CONFLICT = "event_id: came before with another content, which stands; give a change a new event_id"


class KeyInProgressError(Exception):
    """Another request with the same idempotency key is being worked on; `seconds_left`: until it is taken for dead."""

    def __init__(self, seconds_left: float) -> None:
        super().__init__("a request with this idempotency key is in progress")
        self.seconds_left = seconds_left


class KeyReusedError(Exception):
    """The idempotency key was used for another body."""


class BodyError(ValueError):
    """The body as a whole cannot be read; the message says what it must be."""


class BodyTooLongError(BodyError):
    """The body is longer than can be taken in one piece."""


@dataclass
class Tally:
    """What became of a request's events."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    rejected_count: int = 0
    unknown_accounts: set[str] = field(default_factory=set)

    def reject(self, line: int, event_id: str | None, problem: str) -> None:
        """Count a refused event, and tell it while there is room."""
        self.rejected_count += 1
        if len(self.rejected) < MOST_REJECTED:
            self.rejected.append({"line": line, "event_id": event_id, "problem": problem})

    def answer(self) -> dict[str, Any]:
        """Return it as the answer's JSON record."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": sorted(self.rejected, key=lambda row: row["line"]),
            "rejected_count": self.rejected_count,
            "unknown_accounts": min(len(self.unknown_accounts), MOST_UNKNOWN),
        }


@dataclass(frozen=True)
class Received:
    """The answer, and whether it was given before under the same key."""

    answer: dict[str, Any]
    replayed: bool = False


async def receive(
    body: AsyncIterator[bytes], body_format: BodyFormat, intake: Intake, *, sender: str, key: str | None, json_limit: int
) -> Received:
    """Take in a body of events and return the answer once all of it is committed.

    NDJSON is read in constant memory, JSON whole, up to `json_limit` bytes. With a `key` the same body of the same sender gets
    the same answer again. Raises KeyInProgressError, KeyReusedError, BodyError and StoreError; the key is free again then.
    """
    if key is None:
        return Received(await _take(body, body_format, intake, None, json_limit))
    held = await run_in_threadpool(intake.claim, sender, key)
    if isinstance(held, InProgress):
        raise KeyInProgressError(held.seconds_left)
    digested = _Digested(body)
    if isinstance(held, Answered):
        async for _ in digested:
            pass
        if digested.digest() != held.body_digest:
            raise KeyReusedError
        return Received(held.answer, replayed=True)
    try:
        answer = await _take(digested, body_format, intake, held, json_limit)
        await run_in_threadpool(intake.answer, held, digested.digest(), answer)
    except ClaimLostError:
        raise KeyInProgressError(0) from None
    except Exception:
        await run_in_threadpool(intake.release, held)
        raise
    return Received(answer)


class _Digested:
    """A body that is digested as it goes by."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body, self._hash = body, blake2b(digest_size=16)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self._hash.update(chunk)
            yield chunk

    def digest(self) -> bytes:
        return self._hash.digest()


async def _take(body: Any, body_format: BodyFormat, intake: Intake, claim: Claim | None, json_limit: int) -> dict[str, Any]:
    tally = Tally()
    # in a thread, one batch after the other: the sender is not read from until its last batch is committed
    commit = partial(run_in_threadpool, partial(_commit, intake, claim, tally))
    if body_format == "ndjson":
        await _by_line(body, commit)
    else:
        lines = await run_in_threadpool(_events_of, await _whole(body, json_limit))
        for start in range(0, len(lines), BATCH):
            await commit(start + 1, lines[start : start + BATCH])
    return tally.answer()


async def _by_line(body: Any, commit: Callable[[int, Sequence[bytes | None]], Awaitable[None]]) -> None:
    """Cut the body into lines and commit them batch by batch; None stands for a line that is too long to be kept."""
    lines: list[bytes | None] = []
    committed, rest, overlong = 0, b"", False
    async for chunk in body:
        *ended, rest = (rest + chunk).split(b"\n")
        for line in ended:
            lines.append(None if overlong or len(line) > LONGEST_LINE else line)
            overlong = False
        if len(rest) > LONGEST_LINE:
            rest, overlong = b"", True
        while len(lines) >= BATCH:
            await commit(committed + 1, lines[:BATCH])
            committed, lines = committed + BATCH, lines[BATCH:]
    await commit(committed + 1, [*lines, None if overlong else rest])


async def _whole(body: Any, limit: int) -> bytes:
    parts, length = [], 0
    async for chunk in body:
        length += len(chunk)
        if length > limit:
            raise BodyTooLongError(f"as JSON the body may have {limit} bytes; send NDJSON, or several bodies")
        parts.append(chunk)
    return b"".join(parts)


def _events_of(body: bytes) -> list[bytes | None]:
    """Return each of the events of a JSON body as a line of its own."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BodyError(f'the body is not JSON: {error}; send {{"events": [...]}}, or NDJSON as such') from None
    if not isinstance(value, dict) or value.keys() != {"events"} or not isinstance(value["events"], list):
        raise BodyError('the body must be {"events": [...]} and nothing else; NDJSON has a Content-Type of its own')
    lines = (to_json(event, inf_nan_mode="constants") for event in value["events"])
    return [line if len(line) <= LONGEST_LINE else None for line in lines]


def _commit(intake: Intake, claim: Claim | None, tally: Tally, first: int, lines: Sequence[bytes | None]) -> None:
    """Add the events of these lines, the first of which has the number `first`, in one transaction, and count them."""
    latest = now() + events.AHEAD
    batch: list[Event] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, start=first):
        if line is None:
            tally.reject(number, None, f"longer than {LONGEST_LINE} bytes; one event is one line of at most so many")
        elif not line or line.isspace():
            continue
        else:
            try:
                batch.append(events.read(line, latest))
                numbers.append(number)
            except ValueError as error:
                tally.reject(number, events.event_id_of(line), events.problem(error))
    if not batch and claim is None:
        return
    taken = intake.add(batch, claim)
    for number, event, outcome in zip(numbers, batch, taken.outcomes, strict=True):
        if outcome == "conflict":
            tally.reject(number, event.event_id, _CONFLICT)
    tally.accepted += taken.outcomes.count("accepted")
    tally.duplicates += taken.outcomes.count("duplicate")
    if len(tally.unknown_accounts) < MOST_UNKNOWN:
        tally.unknown_accounts |= taken.unknown_accounts
