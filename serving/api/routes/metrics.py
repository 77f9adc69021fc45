"""`GET /v1/metrics`: company metrics of a month."""

from typing import Annotated

import pandas as pd
from fastapi import APIRouter, Query, Request, Response

from serving.api.dependencies import Reader, ServiceOf
from serving.api.paging import answered
from serving.api.problems import Problem, documented
from serving.api.schemas.metrics import MetricsAnswer
from serving.api.schemas.words import MetricGroup
from serving.company_metrics import month_metrics
from serving.on_demand import latest

router = APIRouter(prefix="/v1", tags=["metrics"])


@router.get("/metrics", response_model=MetricsAnswer, responses=documented(401, 403, 422, 429, 503))
def get_metrics(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    month: Annotated[
        str | None,
        Query(pattern=r"^(19|20)\d\d-(0[1-9]|1[0-2])$", description="YYYY-MM; default: the last whole month of the data"),
    ] = None,
    by: Annotated[MetricGroup | None, Query(description="a record per group")] = None,
) -> Response:
    """Opening, movements and closing MRR, retention, churn and concentration of a month."""
    until = pd.Timestamp(latest(service.company))
    start = pd.Timestamp(f"{month}-01") if month else (until - pd.DateOffset(months=1)).normalize().replace(day=1)
    end = start + pd.DateOffset(months=1)
    if end > until:
        raise Problem(
            422,
            "month-not-over",
            "Month not over",
            f"month {start:%Y-%m} is not over in the data, which reach to {until.isoformat()}; ask for an earlier one",
        )
    with service.company.tables() as tables:
        items = month_metrics(tables, start, end, by=by, tier_settings=service.scoring.tiers, csm=principal.csm)
    content = {
        "month": f"{start:%Y-%m}",
        "start": start.to_pydatetime(),
        "end": end.to_pydatetime(),
        "by": by,
        "currency": service.currency,
        "items": items,
        "next_cursor": None,
    }
    return answered(request, content)
