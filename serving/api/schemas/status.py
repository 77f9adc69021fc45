"""Alive, ready, and how old everything is."""

from datetime import datetime
from typing import Any, Literal

from serving.api.schemas.scored import Shape


class Alive(Shape):
    """The process answers."""

    status: Literal["alive"]


class Check(Shape):
    """One thing that must hold."""

    ok: bool
    detail: str


class Ready(Shape):
    """Whether requests can be served, and each thing that must hold for it."""

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

    data_until: datetime | None
    data_age_seconds: float | None
    last_run: LastRun | None
    nightly: dict[str, Any] | None
    models: dict[str, Any]
