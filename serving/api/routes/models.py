"""`GET /v1/models…`: the models that serve, their cards; and a look at the registry now."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from serving.api.dependencies import Admin, Reader, ServiceOf
from serving.api.paging import answered
from serving.api.problems import Problem, documented
from serving.api.schemas.models import ModelPage, ModelRecord, ModelState
from serving.model_cards import ModelCard

router = APIRouter(prefix="/v1/models", tags=["models"])
ModelName = Annotated[str, Path(min_length=1, max_length=200, examples=["kunto-churn-90d"])]


@router.get("", response_model=ModelPage, responses=documented(401, 403, 429, 503))
def list_models(request: Request, service: ServiceOf, _: Reader) -> Response:
    """Every model that serves now, by name; none where the health score serves alone."""
    cards = service.models.current().cards
    return answered(request, {"items": [_record(card) for card in cards.values()], "next_cursor": None})


@router.post("/reload", response_model=ModelState, responses=documented(401, 403, 429, 503))
def reload_models(request: Request, service: ServiceOf, _: Admin) -> Response:
    """Look at the registry now, and load what has the alias: what failed before is tried again. Answers how the models stand.

    With several workers each looks for itself, so the others follow within `model_poll_seconds`.
    """
    return answered(request, asdict(service.models.check()))


@router.get("/{name}", response_model=ModelRecord, responses=documented(401, 403, 404, 422, 429, 503))
def get_model(request: Request, service: ServiceOf, _: Reader, name: ModelName) -> Response:
    """One model that serves now, with its card."""
    cards = service.models.current().cards
    if name not in cards:
        known = ", ".join(cards) or "none: the health score serves"
        raise Problem(404, "unknown-model", "Unknown model", f"no model {name!r} serves; those that do: {known}")
    return answered(request, _record(cards[name]))


def _record(card: ModelCard) -> dict[str, Any]:
    champion, record = card.champion, card.record
    model, gate = champion.model, record.get("gate", {})
    return {
        "name": champion.name,
        "version": champion.version,
        "outcome": model.outcome,
        "horizon_days": model.horizon_days,
        "served_by": model.served_by,
        "features": len(model.inputs),
        "base_rate": model.base_rates.get(model.horizon_days),
        "registered_at": card.registered_at,
        "gate": {"state": card.gate, "passed": gate.get("passed"), "reasons": gate.get("reasons", [])},
        "train": record.get("train", {}),
        "test": record.get("test", {}),
        "baselines": record.get("baselines", {}),
        "trained_on": dict(card.trained_on),
        "card": card.text,
    }
