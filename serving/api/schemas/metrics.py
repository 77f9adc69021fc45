"""Company metrics over a month (domain.md §5)."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from serving.api.schemas.scored import Shape
from serving.api.schemas.words import MetricGroup

_METRICS: dict[str, Any] = {"opening_mrr": 79604.1, "closing_mrr": 81210.4, "nrr": 1.01, "grr": 0.97, "customer_churn": 0.02}


class MetricsOf(Shape):
    """The metrics of one group of accounts; `group` is null for the whole company."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"group": None, "metrics": _METRICS}})

    group: str | None
    metrics: dict[str, float | int | None] = Field(
        description="`*_mrr`: money a month in the reporting currency; ratios as fractions, null where nothing divides them",
    )


class MetricsAnswer(Shape):
    """Metrics of a month, of the company or by group; retention is the month's own, point to point."""

    month: str = Field(examples=["2026-06"])
    start: datetime
    end: datetime
    by: MetricGroup | None
    currency: str | None
    items: list[MetricsOf]
    next_cursor: str | None
