"""`POST /v1/events`: usage, tickets, surveys and touchpoints as they happen."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect

from serving.api.dependencies import EventsWriter, ServiceOf
from serving.api.problems import Problem, documented
from serving.api.schemas.events import REQUEST_BODY, EventsAnswer
from serving.receiving import BodyError, BodyFormat, BodyTooLongError, KeyInProgressError, KeyReusedError, receive

router = APIRouter(tags=["events"])
_FORMATS: dict[str, BodyFormat] = {"application/x-ndjson": "ndjson", "application/json": "json"}
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and body again give the same answer again, without work, for 24 hours",
    ),
]


@router.post(
    "/v1/events",
    summary="Take in events",
    response_model=EventsAnswer,
    responses=documented(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def send_events(
    request: Request, response: Response, service: ServiceOf, principal: EventsWriter, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Take in events as they happen, as NDJSON (streamed) or JSON. A bad event fails alone; one delivered again counts once.

    A row that changes, such as a ticket that is resolved, comes whole under a new `event_id`; from then on that version holds.
    A request that was not answered is sent again whole.
    """
    body_format = _format(request)
    try:
        received = await receive(
            request.stream(),
            body_format,
            service.store.intake,
            sender=f"{principal.kind}:{principal.id}",
            key=idempotency_key,
            json_limit=service.settings.body_limit,
        )
    except KeyInProgressError as error:
        raise Problem(
            409,
            "key-in-progress",
            "Request in progress",
            f"a request with the Idempotency-Key {idempotency_key!r} is being worked on; wait for its answer, or try again later",
            headers={"Retry-After": str(max(1, round(error.seconds_left)))},
        ) from None
    except KeyReusedError:
        raise Problem(
            422,
            "key-reused",
            "Idempotency-Key used before",
            f"the Idempotency-Key {idempotency_key!r} was used for another body; give each body a key of its own",
        ) from None
    except BodyTooLongError as error:
        raise Problem(413, "body-too-large", "Body too large", str(error)) from None
    except ClientDisconnect:
        # nobody reads this, but it is no fault of ours either
        raise Problem(
            400, None, "Connection closed", "the connection closed before the body's end; send it again, whole"
        ) from None
    except BodyError as error:
        raise Problem(422, "invalid-request", "Invalid request", str(error)) from None
    if received.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return received.answer


def _format(request: Request) -> BodyFormat:
    """The body's format; Problem 415 where it is none that is read here."""
    told = request.headers.get("content-type", "")
    kind = told.partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind in _FORMATS and coding == "identity":
        return _FORMATS[kind]
    given = f"Content-Type {told!r}" if kind not in _FORMATS else f"Content-Encoding {coding!r}"
    raise Problem(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        f"{given[:200]} is not read here; send {' or '.join(_FORMATS)}, uncompressed",
    )
