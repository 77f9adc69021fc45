"""Scored accounts and whole runs for the store's tests."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from serving.store import Decision, Identity, Store


@pytest.fixture(scope="session")
def record() -> Callable[..., dict[str, Any]]:
    """A function that makes a scored account of interface shape."""
    return scored


def scored(account_id: str = "a1", as_of: str = "2026-03-01T00:00:00", score: int = 71, p_churn: float = 0.125) -> dict:
    drivers = [
        {
            "driver": driver,
            "direction": "raises",
            "contribution": 0.4,
            "feature": "active_days_30d",
            "value": 3.0,
            "before": 11.0,
            "peers": None,
            "text": f"Sanna of {account_id} has stopped logging in",
        }
        for driver in ("usage_decline", "silence", "growth")
    ]
    return {
        "account_id": account_id,
        "name": f"{account_id.upper()} Oy",
        "csm": "Maija Meikäläinen",
        "tier": "key",
        "stage": "adoption",
        "as_of": as_of,
        "health": {"score": score, "band": "neutral", "coverage": 0.9, "components": {"usage": 60.5, "support": None}},
        "predictions": [
            {"outcome": "churn", "horizon_days": 30, "probability": 0.05, "low": 0.01, "high": 0.1, "base_rate": 0.02},
            {"outcome": "churn", "horizon_days": 90, "probability": p_churn, "low": 0.1, "high": 0.2, "base_rate": 0.04},
        ],
        "curve": [{"days": 30 * step, "survival": 1 - 0.01 * step} for step in range(1, 13)],
        "reasons": {"outcome": "churn", "horizon_days": 90, "base_value": -3.0, "drivers": drivers, "other": 0.1},
        "play": {"name": "activation", "why": "Sanna is silent", "expected_value": 120.5, "beaten": [], "assignment": None},
        "arr": 24000.0,
        "arr_at_risk": 3100.25,
        "expected_lifetime_value": 61000.5,
        "renewal": {
            "date": "2026-06-01",
            "notice_by": "2026-03-03",
            "probability": 0.8,
            "expected_arr": 4900.0,
            "expected_arr_low": 4000.0,
            "expected_arr_high": 6100.0,
        },
        "contacts": [{"contact_id": "c1", "name": "Sanna"}],
        "disagreement": False,
        "leaving": False,
        "versions": {"model": "churn 3", "config": "9f2c", "data": "77ab"},
    }


@pytest.fixture(scope="session")
def write() -> Callable[..., Any]:
    """A function that does one whole run: accounts, scores, decisions, finish."""

    def whole_run(store: Store, records: list[dict], decisions: Sequence[Decision] = (), run_id: str | None = None) -> Any:
        store.save_accounts(Identity(row["account_id"], row["name"], row["csm"]) for row in records)
        run = store.begin_run("score", "2026-03-01", {"model": "churn 3"}, run_id=run_id)
        store.append_scores(run.run_id, records)
        store.append_decisions(run.run_id, decisions)
        return store.finish_run(run.run_id)

    return whole_run
