"""Whether the service can serve, and how old what it tells is."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from models.registry import worded
from serving.company import CompanyTables
from serving.models_in_use import ModelsInUse
from serving.nightly import NIGHTLY, last_run_summary
from serving.observe.metrics import Standing
from serving.store import Store, StoreError


def readiness(store: Store, models: ModelsInUse[Any]) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Whether requests can be served, and the checks behind it; nothing secret is told."""
    state = models.state()
    try:
        store.portfolio_run()
        database = {"ok": True, "detail": "answers"}
    except StoreError as error:
        database = {"ok": False, "detail": error.what}
    loaded = f"{worded(state.versions)}, self-tested" if state.ready else "not loaded yet"
    checks = {"database": database, "models": {"ok": models.ready, "detail": state.problem or loaded}}
    return database["ok"] is True and models.ready, checks


def standing(store: Store, models: ModelsInUse[Any], company: CompanyTables, at: datetime) -> Standing:
    """What Prometheus reads of the service as it stands."""
    state, run, night = models.state(), store.portfolio_run(), store.jobs.last_done(NIGHTLY)
    runs = {"score": run and run.finished_at, NIGHTLY: night and night.finished_at}
    return Standing(
        models=state.versions,
        models_loaded_at=state.since,
        data_age_seconds=company.data_age(at),
        last_runs={kind: finished for kind, finished in runs.items() if finished},
        outbox_waiting=store.outbox.waiting(),
    )


def status(store: Store, models: ModelsInUse[Any], company: CompanyTables, at: datetime) -> dict[str, Any]:
    """The age of the data, the last run and night, and the models."""
    run = store.portfolio_run()
    last = None
    if run is not None:
        last = {"run_id": run.run_id, "as_of": run.as_of, "finished_at": run.finished_at, "accounts": run.counts.get("scores")}
    state = models.state()
    return {
        "data_until": company.data_until,
        "data_age_seconds": company.data_age(at),
        "last_run": last,
        "nightly": last_run_summary(store, at),
        "models": asdict(state) | {"versions": dict(state.versions)},
    }
