"""Models fitted in a second on made-up rows whose truth is known, for tests of what is done with models."""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit

from models.booster import BoosterSettings
from models.outcome import OutcomeModel
from training.fit import fit_outcome
from training.rows import Rows
from training.settings import Task

EXPANSION = Task(outcome="expansion", horizon_days=90)
CHURN = Task(outcome="churn", horizon_days=90)
TEST_FROM = pd.Timestamp("2026-01-01")
YEAR_BEFORE = pd.Timestamp("2025-01-01")
MONTHS = 6
DAY = pd.Timedelta(days=1)


def made_rows(accounts: int, first: pd.Timestamp, seed: int, strength: float = 1.2) -> tuple[Rows, pd.DataFrame]:
    """Six monthly rows per account; in plan basic the seats tell the outcome, in plan pro the price does. The rest is noise."""
    rng = np.random.default_rng(seed)
    count = accounts * MONTHS
    pro = np.repeat(rng.random(accounts) < 0.4, MONTHS)
    own = np.repeat(rng.normal(size=accounts), MONTHS) + 0.3 * rng.normal(size=count)
    frame = pd.DataFrame(
        {
            "seats": np.where(pro, 0.0, own),
            "mrr": np.where(pro, own, 0.0),
            "tenure_days": rng.normal(size=count),
            "products": rng.normal(size=count),
        }
    )
    y = (rng.random(count) < expit(strength * own - 2.3)).astype(float)
    dates = pd.date_range(first, periods=MONTHS, freq="MS").astype("datetime64[us]")
    timeline = pd.DataFrame(
        {"account_id": np.repeat([f"a{n}" for n in range(accounts)], MONTHS), "as_of": np.tile(dates, accounts)}
    )
    timeline["churn_at"], timeline["known_until"] = pd.NaT, dates[-1] + 200 * DAY
    return Rows(frame, timeline, y, np.zeros(count)), pd.DataFrame({"plan": np.where(pro, "pro", "basic")})


def churn_model(kind: Literal["booster", "logistic"] = "booster") -> tuple[OutcomeModel, pd.DataFrame]:
    """A churn model, and rows of features that it can be asked about."""
    rows, _ = made_rows(150, YEAR_BEFORE, seed=5)
    rng = np.random.default_rng(6)
    renewal = rng.uniform(1, 365, len(rows))
    frame = rows.frame.assign(days_to_renewal=renewal, days_to_notice_deadline=renewal - 30, term_months=12.0)
    left = rows.timeline["as_of"] + pd.to_timedelta(rng.uniform(0, 90, len(rows)), unit="D")
    timeline = rows.timeline.assign(churn_at=left.where(rows.y > 0).astype("datetime64[us]"))
    settings = BoosterSettings(rounds=15, learning_rate=0.2)
    given = Rows(frame, timeline, rows.y, rows.change)
    return fit_outcome(CHURN, kind, given, settings=settings).model, frame.iloc[:60].reset_index(drop=True)
