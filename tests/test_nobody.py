"""An instant at which nobody is active and observed: nothing to score, and nothing that breaks."""

import ibis
import numpy as np
import pandas as pd

from models.booster import BoosterSettings, fit_booster
from serving.champions import Champions
from serving.scoring import ScoringSettings, score


def test_contributions_of_no_rows() -> None:
    X = pd.DataFrame({"use": np.linspace(0, 1, 60)})
    model = fit_booster(X, X["use"] < 0.5, directions={}, settings=BoosterSettings(rounds=2))
    found = model.contributions(X.iloc[:0])
    assert found.shape == (0, 1)
    assert list(found.columns) == ["use"]


def test_a_portfolio_of_nobody() -> None:
    tables = {
        "accounts": ibis.memtable(pd.DataFrame({"account_id": ["a"], "observed_until": [pd.Timestamp("2026-01-01")]})),
        "subscriptions": ibis.memtable(pd.DataFrame({"account_id": ["a"], "started_at": [pd.Timestamp("2025-01-01")]})),
    }
    scored = score(tables, pd.Timestamp("2026-03-01"), Champions({}, None), ScoringSettings(), versions={})
    assert scored.records == []
