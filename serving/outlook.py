"""What the serving models say of a portfolio: probabilities with intervals, the curve, and the stakes (domain.md §4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.answer import HORIZONS
from models.choice import PlaySettings
from models.hazard import CURVE_DAYS, step_count
from models.matrix import FloatArray, Matrix
from models.outcome import Explanation, OutcomeModel
from models.stakes import Estimate, Movement, arr_at_risk, expected_arr, four_states, lifetime_value, p_non_renewal
from serving.champions import Champion, Champions

Instants = npt.NDArray[np.datetime64]
#: Expected revenue rests on the models of this horizon (domain.md §4).
REVENUE_HORIZON = 180
_SECOND, _DAY_SECONDS = np.timedelta64(1, "s"), 86_400
#: What an account that stays may do.
_STAYING = ("contraction", "expansion")


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

    `fall` and `rise` are how accounts that stay move, by the models of 180 days (or the nearest); `mean_rise` is that of the
    expansion model which `at("expansion")` reads.
    """

    churn: Champion
    predictions: tuple[Prediction, ...]
    survival: FloatArray
    renewal_days: FloatArray
    explanation: Explanation
    fall: Movement
    rise: Movement
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

    def records(self) -> list[list[dict[str, Any]]]:
        """The predictions of each account."""
        return [[prediction.record(row) for prediction in self.predictions] for row in range(len(self.survival))]

    def curve(self, row: int) -> list[dict[str, Any]]:
        """The survival curve of one account."""
        step = self.churn.model.step_days
        return [{"days": (k + 1) * step, "survival": value} for k, value in enumerate(self.survival[row].tolist())]

    def stakes(self, arr: FloatArray, settings: PlaySettings) -> list[dict[str, Any]]:
        """What is at stake of each account, as its record tells it; None where it is not known. `arr` (accounts,): NaN likewise.

        P(non-renewal), and the ARR expected then, are read at the end of the renewal's step, and not known past 360 days.
        """
        step_days, days = self.churn.model.step_days, self.renewal_days
        leaves = p_non_renewal(self.survival, np.where(days <= CURVE_DAYS, days, np.nan), step_days)
        low, high = self.churn.model.precision.interval(leaves)
        renewing = expected_arr(arr, Estimate(1.0 - leaves, 1.0 - high, 1.0 - low), days, self.rise, self.fall)
        risk = arr_at_risk(arr, self.survival, step_days, days, self.fall.chance.value, self.fall.mean_change)
        moves = {"rise": self.rise, "fall": self.fall}
        worth = lifetime_value(arr, self.survival, step_days, **moves, margin=settings.margin, discount=settings.discount)
        columns = (risk, worth, leaves, renewing.value, renewing.low, renewing.high)
        return [_stakes(*account) for account in zip(*map(or_none, columns), strict=True)]


def _stakes(at_risk: float | None, worth: float | None, leaves: float | None, *renewing: float | None) -> dict[str, Any]:
    expected, low, high = renewing
    renewal = {"probability": leaves, "expected_arr": expected, "expected_arr_low": low, "expected_arr_high": high}
    return {"arr_at_risk": at_risk, "expected_lifetime_value": worth, "renewal": renewal}


def or_none(values: FloatArray) -> list[float | None]:
    """The values of a column, None where it is not known (NaN)."""
    return [None if value != value else value for value in values.tolist()]


#: What is at stake where nothing is predicted.
NO_STAKES: Mapping[str, Any] = _stakes(*[None] * 6)


def outlook(champions: Champions, features: Matrix, renewal_days: FloatArray) -> Outlook | None:
    """Apply the champions; None where no churn model serves (the health score does then).

    `renewal_days` (accounts,): days from T to the next renewal, NaN where none is known.
    """
    churn = champions.churn
    if churn is None:
        return None
    model = churn.model
    margins = model.margins(features, step_count(model.step_days))
    survival = model.curve(margins)
    asked = {days: days // model.step_days for days in {*HORIZONS, model.horizon_days} if days % model.step_days == 0}
    horizons = sorted(days for days, count in asked.items() if count <= survival.shape[1])
    predictions = _predictions("churn", horizons, 1.0 - survival[:, [asked[days] - 1 for days in horizons]], model)
    staying = {key: champion.model.probability(features) for key, champion in champions.models.items() if key[0] != "churn"}
    predictions += _moves(champions, staying, {p.horizon_days: p.probability for p in predictions}, len(features))
    fall, rise = _movements(champions, staying, len(features))
    expands = next((champions.models["expansion", p.horizon_days] for p in predictions if p.outcome == "expansion"), None)
    return Outlook(
        churn,
        tuple(predictions),
        survival,
        renewal_days,
        model.explain(features, margins),
        fall,
        rise,
        expands.model.mean_change if expands else 0.0,
    )


def _moves(
    champions: Champions, staying: Mapping[tuple[str, int], FloatArray], churn: Mapping[int, FloatArray], rows: int
) -> list[Prediction]:
    """Contraction and expansion at each horizon that serves, so that with churn and flat they sum to 1.

    `staying`: what each of their champions gives, given that the account stays; `churn`: its probability by horizon.
    """
    found = []
    nobody = np.zeros(rows)
    for days in sorted({days for _, days in staying}):
        raw = [staying.get((outcome, days), nobody) for outcome in _STAYING]
        states = four_states(churn.get(days, nobody), *raw)
        for outcome, p in zip(_STAYING, states, strict=True):
            if champion := champions.models.get((outcome, days)):
                found += _predictions(outcome, [days], p[:, None], champion.model)
    return found


def _movements(champions: Champions, staying: Mapping[tuple[str, int], FloatArray], rows: int) -> tuple[Movement, ...]:
    """How accounts that stay contract and expand by 180 days, or by the nearest horizon that serves; where none does, not at all.

    `staying` as in `_moves`.
    """
    serving = [champions.given_staying(outcome, REVENUE_HORIZON) for outcome in _STAYING]
    nobody = np.zeros(rows)
    raw = [staying[each.model.outcome, each.model.horizon_days] if each else nobody for each in serving]
    return tuple(
        Movement(Estimate(p, *each.model.precision.interval(p)), each.model.mean_change, each.model.horizon_days)
        if each
        else Movement.none(rows, REVENUE_HORIZON)
        for each, p in zip(serving, four_states(nobody, *raw), strict=True)
    )


def _predictions(outcome: str, horizons: Sequence[int], p: FloatArray, model: OutcomeModel) -> list[Prediction]:
    """Predictions with their intervals out of probabilities (accounts × horizons)."""
    low, high = model.precision.interval(p)
    return [
        Prediction(outcome, days, p[:, k], low[:, k], high[:, k], model.base_rates.get(days)) for k, days in enumerate(horizons)
    ]


def days_to(instants: Instants, as_of: Instants | np.datetime64) -> FloatArray:
    """Days from T to each instant, NaN where there is none."""
    return (instants - as_of) / _SECOND / _DAY_SECONDS
