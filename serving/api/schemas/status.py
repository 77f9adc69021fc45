"""Alive, ready, and how old everything is."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict

from serving.api.schemas.scored import Shape

_READY: dict[str, Any] = {
    "ready": True,
    "checks": {
        "database": {"ok": True, "detail": "answers"},
        "models": {"ok": True, "detail": "kunto-churn-90d/3, self-tested"},
    },
}
_STATUS: dict[str, Any] = {
    "data_until": "2026-07-01T00:00:00Z",
    "data_age_seconds": 18760.0,
    "last_run": {
        "run_id": "c7678e46835a42d08f8e0db369b94566",
        "as_of": "2026-07-01T00:00:00Z",
        "finished_at": "2026-07-01T05:12:40Z",
        "accounts": 502,
    },
    "nightly": {"job": "nightly", "state": "never"},
    "models": {"ready": True, "serving": "models", "versions": {"kunto-churn-90d": 3}},
}


class Alive(Shape):
    """The process answers."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"status": "alive"}})

    status: Literal["alive"]


class Check(Shape):
    """One thing that must hold."""

    ok: bool
    detail: str


class Ready(Shape):
    """Whether requests can be served, and each thing that must hold for it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _READY})

    ready: bool
    checks: dict[str, Check]


class LastRun(Shape):
    """The run whose scores stand."""

    run_id: str
    as_of: datetime
    finished_at: datetime | None
    accounts: int | None


class Status(Shape):
    """How old everything is; `nightly` is the last night's report, `models` the state of what serves."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _STATUS})

    data_until: datetime | None
    data_age_seconds: float | None
    last_run: LastRun | None
    nightly: dict[str, Any] | None
    models: dict[str, Any]
