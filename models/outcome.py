"""One outcome's model: what predicts it, calibrated, with its interval, its curve and its explanation (domain.md §4).

Kept as text: LightGBM's own format or a linear model's JSON, and JSON for the rest. Never a pickle.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.booster import BoosterModel, check_columns
from models.calibration import Calibrator, Precision
from models.hazard import CARRIED, STEP, STEP_COLUMNS, at_step, step_count, step_length
from models.labels import Event, Outcome
from models.linear import LinearModel

FloatArray = npt.NDArray[np.float64]
_SETTINGS, _BOOSTER, _LINEAR = "model.json", "booster.txt", "linear.json"


class Scorer(Protocol):
    """What turns a frame into margins; a booster or a linear model."""

    columns: tuple[str, ...]

    def raw_score(self, frame: pd.DataFrame) -> FloatArray:
        """Margins (rows,) in logits."""

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Addends to the margin (rows × columns)."""

    @property
    def base_value(self) -> float:
        """Where the contributions start from."""


@dataclass(frozen=True)
class Explanation:
    """raw_score (rows,) = base_value (rows,) + contributions (rows × features), in logits."""

    base_value: FloatArray
    contributions: pd.DataFrame
    raw_score: FloatArray


@dataclass(frozen=True)
class OutcomeModel:
    """P(outcome within the horizon | features at T).

    Churn is a landmark hazard: `steps_known` steps were seen in training, later ones read as the last of them. Contraction and
    expansion are direct, given that the account does not churn. `mean_change` is the mean share of MRR by which accounts with the
    outcome fell or rose in training; `base_rates` hold the training share of the outcome by horizon in days.
    """

    outcome: Outcome
    horizon_days: int
    scorer: BoosterModel | LinearModel
    calibrator: Calibrator
    precision: Precision
    base_rates: dict[int, float]
    mean_change: float = 0.0
    steps_known: int = 1
    product_features: tuple[str, ...] = ()
    event: Event = "notice"

    @property
    def served_by(self) -> Literal["booster", "logistic"]:
        """Which of the two predicts."""
        return "booster" if isinstance(self.scorer, BoosterModel) else "logistic"

    @property
    def step_days(self) -> int:
        """Days of one step of the hazard."""
        return step_length(self.horizon_days)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features that a frame must have; others are ignored, in whatever order they stand."""
        if self.outcome != "churn":
            return self.scorer.columns
        own = (column for column in self.scorer.columns if column != STEP and column not in STEP_COLUMNS)
        return tuple(dict.fromkeys((*own, *CARRIED)))

    def margins(self, frame: pd.DataFrame, steps: int) -> FloatArray:
        """Margins (rows × steps) of churn's steps 0 … steps − 1."""
        return np.column_stack([self.scorer.raw_score(self._at(frame, step)) for step in range(steps)])

    def survival(self, frame: pd.DataFrame, steps: int | None = None) -> FloatArray:
        """S at the end of each step (rows × steps), never rising; ValueError for an outcome other than churn."""
        if self.outcome != "churn":
            raise ValueError(f"the model predicts {self.outcome}, which has no curve: ask a churn model for survival")
        count = step_count(self.step_days) if steps is None else steps
        return np.asarray(np.cumprod(1.0 - self.calibrator(self.margins(frame, count)), axis=1), dtype=np.float64)

    def probability(self, frame: pd.DataFrame, horizon_days: int | None = None) -> FloatArray:
        """P(outcome) (rows,); churn may be asked at any multiple of its step, the others at their own horizon alone."""
        days = self.horizon_days if horizon_days is None else horizon_days
        if self.outcome != "churn":
            if days != self.horizon_days:
                raise ValueError(f"horizon_days must be {self.horizon_days}, for which {self.outcome} was trained, got {days}")
            return self.calibrator(self.scorer.raw_score(check_columns(frame, self.inputs)))
        steps, rest = divmod(days, self.step_days)
        if rest or steps < 1:
            raise ValueError(f"horizon_days must be a multiple of {self.step_days}, got {days}")
        return 1.0 - self.survival(frame, steps)[:, -1]

    def explain(self, frame: pd.DataFrame) -> Explanation:
        """Contributions by feature, in logits; for churn the mean over the steps up to the horizon.

        The step's own contribution joins the base value; what a step carries forward of the renewal counts as the renewal.
        """
        if self.outcome != "churn":
            check_columns(frame, self.inputs)
            return Explanation(
                np.full(len(frame), self.scorer.base_value), self.scorer.contributions(frame), self.scorer.raw_score(frame)
            )
        steps = self.horizon_days // self.step_days
        parts = [self.scorer.contributions(self._at(frame, step)) for step in range(steps)]
        mean = sum(parts[1:], parts[0]) / steps
        base = self.scorer.base_value + (mean.pop(STEP).to_numpy() if STEP in mean else 0.0)
        for carried, feature in STEP_COLUMNS.items():
            if carried in mean:
                moved = mean.pop(carried)
                mean[feature] = mean[feature] + moved if feature in mean else moved
        raw = self.margins(frame, steps).mean(axis=1)
        return Explanation(np.broadcast_to(base, len(frame)).astype(np.float64), mean, raw)

    def _at(self, frame: pd.DataFrame, step: int) -> pd.DataFrame:
        stepped = at_step(check_columns(frame, self.inputs), step, self.step_days)
        return stepped.assign(**{STEP: float(min(step, self.steps_known - 1))})

    def to_files(self) -> dict[str, str]:
        """The model as named texts; `from_files` gives it back, bit for bit."""
        numbers = {
            "outcome": self.outcome,
            "horizon_days": self.horizon_days,
            "calibrator": asdict(self.calibrator),
            "precision": asdict(self.precision),
            "base_rates": self.base_rates,
            "mean_change": self.mean_change,
            "steps_known": self.steps_known,
            "product_features": self.product_features,
            "event": self.event,
        }
        if isinstance(self.scorer, BoosterModel):
            numbers["columns"] = self.scorer.columns
            return {_SETTINGS: json.dumps(numbers, indent=1, allow_nan=False), _BOOSTER: self.scorer.text}
        return {_SETTINGS: json.dumps(numbers, indent=1, allow_nan=False), _LINEAR: self.scorer.to_json()}

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "OutcomeModel":
        """Read what `to_files` wrote; ValueError where a part is missing."""
        if _SETTINGS not in files or not (_BOOSTER in files or _LINEAR in files):
            raise ValueError(
                f"the model's files are {', '.join(sorted(files)) or 'none'}; needed: {_SETTINGS} and {_BOOSTER} or {_LINEAR}"
            )
        stored = json.loads(files[_SETTINGS])
        columns = tuple(stored.pop("columns", ()))
        scorer = BoosterModel(columns, files[_BOOSTER]) if _BOOSTER in files else LinearModel.from_json(files[_LINEAR])
        precision = {name: tuple(values) for name, values in stored.pop("precision").items()}
        return cls(
            scorer=scorer,
            calibrator=Calibrator(**stored.pop("calibrator")),
            precision=Precision(**precision),
            base_rates={int(days): rate for days, rate in stored.pop("base_rates").items()},
            product_features=tuple(stored.pop("product_features")),
            **stored,
        )
