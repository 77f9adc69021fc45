"""Lists a page at a time, a choice of fields, and answers that need not be sent twice."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from serving.api.problems import Problem
from serving.store.instants import utc

#: Pages are at most this long.
MOST = 500
#: An instant as it stands inside: naive UTC.
_NAIVE = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?=")')


def encode(position: Sequence[Any]) -> str:
    """A cursor: where the next page begins, opaque to whoever holds it.

    >>> decode(encode([12.5, "a1"]), 2)
    [12.5, 'a1']
    """
    return base64.urlsafe_b64encode(to_json(list(position))).decode().rstrip("=")


def decode(cursor: str, length: int) -> list[Any]:
    """The position of a cursor that `encode` made; Problem 422 for anything else."""
    try:
        found = from_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), allow_inf_nan=False)
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, list) or len(found) != length or any(isinstance(part, list | dict) for part in found):
        raise invalid(cursor)
    return found


def invalid(cursor: str) -> Problem:
    """The cursor was not made for this list, or what it points at is gone."""
    return Problem(
        422,
        "invalid-cursor",
        "Invalid cursor",
        f"cursor {cursor[:60]!r} is not one of this list; send none for the first page, then the answer's next_cursor",
    )


def known_then(cursor: str) -> tuple[datetime, Any]:
    """Of a cursor of a list that runs add to: when what its first page tells was known, and what came last so far."""
    known_at, last = decode(cursor, 2)
    try:
        return utc(known_at), last
    except (OverflowError, ValueError):
        raise invalid(cursor) from None


def selected(record: Mapping[str, Any], fields: str | None, allowed: Sequence[str]) -> dict[str, Any]:
    """The named members of a record (comma-separated; None: all); account_id always stays. Problem 422 for an unknown name.

    >>> selected({"account_id": "a1", "arr": 5, "name": "A"}, "arr", ["account_id", "arr", "name"])
    {'account_id': 'a1', 'arr': 5}
    """
    if fields is None:
        return dict(record)
    wanted = {name.strip() for name in fields.split(",") if name.strip()}
    if unknown := sorted(wanted - set(allowed)):
        raise Problem(
            422,
            "unknown-field",
            "Unknown field",
            f"fields names {', '.join(unknown)[:200]}, which a record has not; allowed: {', '.join(allowed)}",
        )
    return {name: value for name, value in record.items() if name in wanted or name == "account_id"}


def body_of(content: Any) -> bytes:
    """`content` as JSON, its instants told as UTC."""
    return _NAIVE.sub(rb"\g<0>Z", to_json(content))


def answered(request: Request, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content`, or the body that was made of it, with an ETag; 304 without a body where the asker holds it already."""
    body = content if isinstance(content, bytes) else body_of(content)
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    named = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if request.method in ("GET", "HEAD") and holds(request, etag):
        return Response(status_code=304, headers=named)
    return Response(body, status, named, "application/json")


def holds(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names the tag (weak tags compare equal, RFC 9110 §13.1.2)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in given.split(",")}
