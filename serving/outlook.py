"""What the serving models say of a portfolio: probabilities with intervals, the curve, and the stakes (domain.md §4)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.builder import Snapshot
from models.calibration import Precision
from models.hazard import CURVE_DAYS
from models.outcome import Explanation
from models.stakes import arr_at_risk, four_states, survival_at
from serving.champions import Champion, Champions

FloatArray = npt.NDArray[np.float64]
#: The churn probabilities that a score states, where the curve has them, beside the model's own horizon.
CHURN_HORIZONS = (30, 90, 180)
#: Expected revenue rests on the models of this horizon (domain.md §4).
REVENUE_HORIZON = 180
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Prediction:
    """One outcome at one horizon over the portfolio; arrays (accounts,)."""

    outcome: str
    horizon_days: int
    probability: FloatArray
    low: FloatArray
    high: FloatArray
    base_rate: float | None

    def record(self, row: int) -> dict[str, Any]:
        """One account's prediction, as interface.md words it."""
        return {
            "outcome": self.outcome,
            "horizon_days": self.horizon_days,
            "probability": float(self.probability[row]),
            "low": float(self.low[row]),
            "high": float(self.high[row]),
            "base_rate": self.base_rate,
        }


@dataclass(frozen=True)
class Outlook:
    """Everything that the models say of the accounts of one snapshot, in its order.

    `p_contracted` (accounts,) is given that the account stays, and `mean_fall` is the mean share of MRR lost then, both of the
    model of 180 days (or the nearest). `mean_rise` is that of the expansion model which `at("expansion")` reads.
    """

    churn: Champion
    predictions: tuple[Prediction, ...]
    survival: FloatArray
    renewal_days: FloatArray
    explanation: Explanation
    p_contracted: FloatArray
    mean_fall: float
    mean_rise: float

    @property
    def p_churn(self) -> FloatArray:
        """P(churn) at the horizon that is explained."""
        return self.at("churn", self.churn.model.horizon_days)

    def at(self, outcome: str, horizon_days: int | None = None) -> FloatArray:
        """Probabilities (accounts,) of an outcome; zeros where no model of it serves."""
        for prediction in self.predictions:
            if prediction.outcome == outcome and horizon_days in (None, prediction.horizon_days):
                return prediction.probability
        return np.zeros(len(self.survival))

    def curve(self, row: int) -> list[dict[str, Any]]:
        """The survival curve of one account."""
        step = self.churn.model.step_days
        return [{"days": (k + 1) * step, "survival": float(value)} for k, value in enumerate(self.survival[row])]

    def p_non_renewal(self) -> FloatArray:
        """1 − S at the end of the step of the next renewal; NaN past 360 days or without a renewal."""
        within = np.where(self.renewal_days <= CURVE_DAYS, self.renewal_days, np.nan)
        return 1.0 - survival_at(self.survival, within, self.churn.model.step_days)

    def arr_at_risk(self, arr: FloatArray) -> FloatArray:
        """ARR that may be lost by the next renewal, or within 12 months."""
        step_days = self.churn.model.step_days
        return arr_at_risk(arr, self.survival, step_days, self.renewal_days, self.p_contracted, self.mean_fall)


def outlook(champions: Champions, built: Snapshot) -> Outlook | None:
    """Apply the champions to a snapshot; None where no churn model serves (the health score does then)."""
    churn = champions.churn
    if churn is None:
        return None
    frame = built.features
    model = churn.model
    survival = model.survival(frame)
    steps = {days: days // model.step_days for days in {*CHURN_HORIZONS, model.horizon_days} if days % model.step_days == 0}
    predictions = [
        _prediction("churn", days, 1.0 - survival[:, count - 1], model.precision, model.base_rates.get(days))
        for days, count in sorted(steps.items())
        if count <= survival.shape[1]
    ]
    predictions += _moves(champions, built, dict(zip([p.horizon_days for p in predictions], predictions, strict=True)))
    fall = champions.given_staying("contraction", REVENUE_HORIZON)
    rise = next((champions.models["expansion", p.horizon_days] for p in predictions if p.outcome == "expansion"), None)
    return Outlook(
        churn,
        tuple(predictions),
        survival,
        _renewal_days(built.facts),
        model.explain(frame),
        fall.model.probability(frame) if fall else np.zeros(len(frame)),
        fall.model.mean_change if fall else 0.0,
        rise.model.mean_change if rise else 0.0,
    )


def _moves(champions: Champions, built: Snapshot, churn: dict[int, Prediction]) -> list[Prediction]:
    """Contraction and expansion at each horizon that serves, so that with churn and flat they sum to 1."""
    found = []
    horizons = sorted({days for outcome, days in champions.models if outcome != "churn"})
    for days in horizons:
        there = {outcome: champions.models.get((outcome, days)) for outcome in ("contraction", "expansion")}
        raw = {o: c.model.probability(built.features) if c else np.zeros(len(built.features)) for o, c in there.items()}
        leaving = churn[days].probability if days in churn else np.zeros(len(built.features))
        states = dict(zip(("contraction", "expansion"), four_states(leaving, raw["contraction"], raw["expansion"]), strict=True))
        found += [
            _prediction(outcome, days, states[outcome], champion.model.precision, champion.model.base_rates.get(days))
            for outcome, champion in there.items()
            if champion
        ]
    return found


def _prediction(outcome: str, days: int, p: FloatArray, precision: Precision, base_rate: float | None) -> Prediction:
    low, high = precision.interval(p)
    return Prediction(outcome, days, p, low, high, base_rate)


def _renewal_days(facts: pd.DataFrame) -> FloatArray:
    return (facts["renewal_at"] - facts["as_of"]).dt.total_seconds().to_numpy(dtype=np.float64) / _DAY_SECONDS
