"""Lists a page at a time, a choice of fields, and answers that need not be sent twice."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from serving.api.problems import Problem

#: Pages are at most this long.
MOST = 500


def encode(position: Sequence[Any]) -> str:
    """A cursor: where the next page begins, opaque to whoever holds it.

    >>> decode(encode([12.5, "a1"]), 2)
    [12.5, 'a1']
    """
    return base64.urlsafe_b64encode(to_json(list(position))).decode().rstrip("=")


def decode(cursor: str, length: int) -> list[Any]:
    """The position of a cursor that `encode` made; Problem 422 for anything else."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, list) or len(found) != length or any(isinstance(part, list | dict) for part in found):
        raise Problem(
            422,
            "invalid-cursor",
            "Invalid cursor",
            f"cursor {cursor[:60]!r} is not one of this list; send none for the first page, then the answer's next_cursor",
        )
    return found


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


def answered(request: Request, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON with an ETag; 304 without a body where the asker holds it already."""
    body = content if isinstance(content, bytes) else to_json(content)
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
