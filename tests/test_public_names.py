"""The names that others hold on to (interface.md "Python") are there, and can be called as they say."""

import inspect

import pandas as pd

import features
import simulation
from features import revenue
from models import explain, health, labels
from training import metrics


def test_features_are_built_by_their_public_names() -> None:
    tables = {
        "accounts": pd.DataFrame({"account_id": ["a"]}),
        "subscriptions": pd.DataFrame({"account_id": ["a"], "started_at": [pd.Timestamp("2026-01-01")]}),
    }
    spine = pd.DataFrame({"account_id": ["a"], "as_of": [pd.Timestamp("2026-02-01")]})
    frame = features.build(tables, spine)
    assert list(frame.columns) == ["account_id", "as_of", *features.catalog()]
    assert frame["tenure_days"].tolist() == [31.0]


def test_signatures_are_as_promised() -> None:
    promised = {
        revenue.movements: ["subscriptions", "start", "end", "grace_days", "fx"],
        labels.label: [
            *("subscriptions", "spine", "outcome", "horizon_days"),
            *("data_until", "accounts", "grace_days", "event", "fx"),
        ],
        health.combine: ["components", "weights", "exceptions"],
        metrics.empc: ["y", "p", "clv", "d", "f", "alpha", "beta"],
        metrics.top_decile_lift: ["y", "p"],
        metrics.ece: ["y", "p"],
    }
    for function, names in promised.items():
        assert list(inspect.signature(function).parameters) == names, function
    assert list(inspect.signature(metrics.empc_by_value).parameters)[:5] == ["y", "p", "value", "delta", "f"]
    assert list(inspect.signature(simulation.simulate).parameters)[:3] == ["accounts", "months", "seed"]
    assert callable(explain.reasons)
