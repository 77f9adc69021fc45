"""`/v1/webhooks`: who is told of what happens, and what could not be delivered."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from serving import addresses
from serving.api.dependencies import Admin, Cursor, Limit, ServiceOf
from serving.api.paging import answered, encode, invalid, known_then
from serving.api.problems import Problem, documented
from serving.api.schemas.webhooks import CreatedWebhook, DeadLetterPage, NewWebhook, WebhookPage

_DELIVERY_ID = "^msg_[0-9a-f]{32}$"
WebhookId = Annotated[str, Path(pattern="^wh_[0-9a-f]{32}$", examples=["wh_4c0b1f9e5d6a4b0f8f6f3f0a2f1c7d55"])]
DeliveryId = Annotated[str, Path(pattern=_DELIVERY_ID, examples=["msg_0d9c5a1e8b3f4c7a9e2d6b1f4a8c3e70"])]
router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.get("", response_model=WebhookPage, responses=documented(401, 403, 429, 503))
def list_webhooks(request: Request, service: ServiceOf, _: Admin) -> Response:
    """Every webhook, oldest first, without its secret."""
    items = [asdict(webhook) for webhook in service.store.outbox.webhooks()]
    return answered(request, {"items": items, "next_cursor": None})


@router.post("", status_code=201, response_model=CreatedWebhook, responses=documented(400, 401, 403, 409, 413, 422, 429, 503))
def create_webhook(request: Request, body: NewWebhook, service: ServiceOf, principal: Admin) -> Response:
    """Have events posted to a URL from now on. The answer tells the signing secret, this once."""
    try:
        addresses.target(body.url, allow_private=service.settings.webhooks_to_private_addresses)
    except addresses.AddressRefusedError as error:
        raise Problem(422, "address-refused", "Address refused", f"url: {error}") from error
    webhook, secret = service.store.outbox.subscribe(body.url, body.events, created_by=f"{principal.kind}:{principal.id}")
    return answered(request, {**asdict(webhook), "secret": secret}, status=201, headers={"Cache-Control": "no-store"})


@router.delete("/{webhook_id}", status_code=204, responses=documented(401, 403, 404, 422, 429, 503))
def delete_webhook(webhook_id: WebhookId, service: ServiceOf, _: Admin) -> None:
    """Remove a webhook, with everything that still waits for it."""
    service.store.outbox.unsubscribe(webhook_id)


@router.get("/dead-letters", response_model=DeadLetterPage, responses=documented(401, 403, 422, 429, 503))
def list_dead_letters(request: Request, service: ServiceOf, _: Admin, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """What could not be delivered, the latest first."""
    found = service.store.outbox.dead_letters(limit + 1, None if cursor is None else _position(cursor))
    page = found[:limit]
    more = len(found) > limit
    content = {
        "items": [asdict(letter) for letter in page],
        "next_cursor": encode([page[-1].died_at.isoformat(), page[-1].delivery_id]) if more else None,
    }
    return answered(request, content)


@router.post("/deliveries/{delivery_id}/retry", status_code=204, responses=documented(401, 403, 404, 409, 422, 429, 503))
def retry_delivery(delivery_id: DeliveryId, service: ServiceOf, _: Admin) -> None:
    """Send a dead letter again, now, with all its attempts."""
    service.store.outbox.retry(delivery_id, service.clock())


def _position(cursor: str) -> tuple[datetime, str]:
    died_at, delivery_id = known_then(cursor)
    if not isinstance(delivery_id, str) or not re.match(_DELIVERY_ID, delivery_id):
        raise invalid(cursor)
    return died_at, delivery_id
