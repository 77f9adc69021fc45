"""One outcome's model: what predicts it, calibrated, with its interval, its curve and its explanation (domain.md §4).

Kept as text: LightGBM's own format or a linear model's JSON, and JSON for the rest. Never a pickle.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from models.booster import BoosterModel
from models.calibration import Calibration, Precision, calibrator_from
from models.hazard import CARRIED, EXPOSURE, STEP, STEP_COLUMNS, ahead, step_count, step_length
from models.labels import Event, Outcome
from models.linear import LinearModel
from models.matrix import FloatArray, Matrix, Table, positions, values_of
from models.scorer_files import scorer_from_files, scorer_to_files

#: What the fit adds to the features at T, and joins the base value of an explanation where it is no feature carried forward.
_OF_STEPS = frozenset({STEP, EXPOSURE, *STEP_COLUMNS})
_IN_BASE = (STEP, EXPOSURE)
#: So many rows are stacked, each at every step, at a time: bounds memory.
_ROWS_AT_ONCE = 2_000
_SETTINGS = "model.json"


@dataclass(frozen=True)
class Explanation:
    """raw_score (rows,) = base_value (rows,) + contributions (rows × features; as the table was), in logits."""

    base_value: FloatArray
    contributions: Table
    raw_score: FloatArray


def _mean_addends(scorer: BoosterModel | LinearModel, block: Matrix, steps: int) -> FloatArray:
    """Each row's addends (rows × columns), the mean over its steps, which stand together in the block."""
    parts = scorer.addends(block).reshape(-1, steps, len(block.names))
    total = parts[:, 0].copy()
    for step in range(1, steps):  # in this order, alone and in a batch
        total += parts[:, step]
    return total / steps


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
    calibrator: Calibration
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

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The features that a frame must have; others are ignored, in whatever order they stand."""
        own = (column for column in self.scorer.columns if column not in _OF_STEPS)
        return tuple(dict.fromkeys((*own, *(CARRIED if self.outcome == "churn" else ()))))

    def margins(self, table: Table, steps: int) -> FloatArray:
        """Margins (rows × steps) of churn's steps 0 … steps − 1, if no new play is begun."""
        parts = [self.scorer.raw_score(block) for block in self._stepped(table, steps)]
        return np.concatenate(parts).reshape(len(table), steps)

    def margin(self, table: Table) -> FloatArray:
        """Margin (rows,) of contraction or expansion, if no new play is begun."""
        return self.scorer.raw_score(self._direct(table))

    def survival(self, table: Table, steps: int | None = None) -> FloatArray:
        """S at the end of each step (rows × steps), never rising; ValueError for an outcome other than churn."""
        if self.outcome != "churn":
            raise ValueError(f"the model predicts {self.outcome}, which has no curve: ask a churn model for survival")
        count = step_count(self.step_days) if steps is None else steps
        return self.curve(self.margins(table, count))

    def curve(self, margins: FloatArray) -> FloatArray:
        """S at the end of each step (rows × steps) out of the margins of churn's steps."""
        return np.asarray(np.cumprod(1.0 - self.calibrator(margins), axis=1), dtype=np.float64)

    def probability(self, table: Table, horizon_days: int | None = None) -> FloatArray:
        """P(outcome) (rows,); churn may be asked at any multiple of its step, the others at their own horizon alone."""
        days = self.horizon_days if horizon_days is None else horizon_days
        if self.outcome != "churn":
            if days != self.horizon_days:
                raise ValueError(f"horizon_days must be {self.horizon_days}, for which {self.outcome} was trained, got {days}")
            return self.calibrator(self.margin(table))
        steps, rest = divmod(days, self.step_days)
        if rest or steps < 1:
            raise ValueError(f"horizon_days must be a multiple of {self.step_days}, got {days}")
        return 1.0 - self.survival(table, steps)[:, -1]

    def explain(self, table: Table, margins: FloatArray | None = None) -> Explanation:
        """Contributions by feature, in logits; for churn the mean over the steps up to the horizon.

        The step's own contribution joins the base value; what a step carries forward of the renewal counts as the renewal.
        `margins`: those of churn's steps up to the horizon, or further, where they are known already.
        """
        if self.outcome != "churn":
            given = self._direct(table)
            return self._explanation(table, self.scorer.addends(given), self.scorer.raw_score(given))
        steps = self.horizon_days // self.step_days
        mean = np.concatenate([_mean_addends(self.scorer, block, steps) for block in self._stepped(table, steps)])
        known = self.margins(table, steps) if margins is None or margins.shape[1] < steps else margins
        # Over contiguous memory: in the same order, and so to the same bit, alone and in a batch.
        return self._explanation(table, mean, np.ascontiguousarray(known[:, :steps]).mean(axis=1))

    def _explanation(self, table: Table, addends: FloatArray, raw_score: FloatArray) -> Explanation:
        """What explains `raw_score`, out of the addends of all that the scorer reads (rows × its columns)."""
        columns = self.scorer.columns
        base = np.full(len(table), self.scorer.base_value)
        for name in _IN_BASE:
            if name in columns:
                base += addends[:, columns.index(name)]
        own = positions(columns, self._explained)
        by_feature = np.where(own < 0, 0.0, addends.take(own, axis=1))  # 0: not read itself, only carried forward
        for carried, feature in STEP_COLUMNS.items():
            if carried in columns:
                by_feature[:, self._explained.index(feature)] += addends[:, columns.index(carried)]
        return Explanation(base, self._as_given(table, by_feature), raw_score)

    def _as_given(self, table: Table, contributions: FloatArray) -> Table:
        if isinstance(table, Matrix):
            return Matrix(self._explained, contributions)
        return pd.DataFrame(contributions, index=table.index, columns=list(self._explained))

    @cached_property
    def _explained(self) -> tuple[str, ...]:
        """The features that contributions are given of."""
        columns = self.scorer.columns
        carried = (feature for name, feature in STEP_COLUMNS.items() if name in columns)
        own = (name for name in columns if name not in _OF_STEPS)
        return tuple(dict.fromkeys((*own, *carried)))

    def _given(self, table: Table) -> Matrix:
        return Matrix(self.inputs, values_of(table, self.inputs))

    def _direct(self, table: Table) -> Matrix:
        """What the scorer of contraction or expansion reads (rows × columns)."""
        given, columns = self._given(table), self.scorer.columns
        if EXPOSURE not in columns:
            return given
        values = given.values.take(positions(self.inputs, columns), axis=1)
        values[:, columns.index(EXPOSURE)] = 0.0
        return Matrix(columns, values)

    def _stepped(self, table: Table, steps: int) -> Iterator[Matrix]:
        """What the scorer reads of some rows at a time (rows · steps × columns), the steps of one row together."""
        given, columns = self._given(table).values, self.scorer.columns
        start = np.arange(steps, dtype=np.float64) * self.step_days
        places, carried = positions(self.inputs, columns), positions(self.inputs, CARRIED)
        for first in range(0, max(len(given), 1), _ROWS_AT_ONCE):
            rows = given[first : first + _ROWS_AT_ONCE]
            # What is of the step is filled in below; until then the last column holds its place.
            stacked = np.repeat(rows.take(places, axis=1), steps, axis=0)
            cube = stacked.reshape(len(rows), steps, len(columns))
            *distances, term = rows.take(carried, axis=1).T[:, :, None]
            for name, distance in zip(STEP_COLUMNS, distances, strict=True):
                if name in columns:
                    cube[:, :, columns.index(name)] = ahead(distance, term, start)
            if EXPOSURE in columns:
                cube[:, :, columns.index(EXPOSURE)] = 0.0
            if STEP in columns:
                cube[:, :, columns.index(STEP)] = np.minimum(np.arange(steps), self.steps_known - 1)
            yield Matrix(columns, stacked)

    def to_files(self) -> dict[str, str]:
        """The model as named texts; `from_files` gives it back, bit for bit."""
        numbers = {
            "outcome": self.outcome,
            "horizon_days": self.horizon_days,
            "calibrator": self.calibrator.as_dict(),
            "precision": self.precision.as_dict(),
            "base_rates": self.base_rates,
            "mean_change": self.mean_change,
            "steps_known": self.steps_known,
            "product_features": self.product_features,
            "event": self.event,
        }
        described, files = scorer_to_files(self.scorer)
        return {_SETTINGS: json.dumps(numbers | described, indent=1, allow_nan=False)} | files

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "OutcomeModel":
        """Read what `to_files` wrote; ValueError where a part is missing, or a booster's text is not whole."""
        if _SETTINGS not in files:
            raise ValueError(f"the model's files are {', '.join(sorted(files)) or 'none'}; needed: {_SETTINGS}, and its scorer's")
        stored = json.loads(files[_SETTINGS])
        scorer = scorer_from_files(stored, files)
        precision = {name: tuple(values) for name, values in stored.pop("precision").items()}
        return cls(
            scorer=scorer,
            calibrator=calibrator_from(stored.pop("calibrator")),
            precision=Precision(**precision),
            base_rates={int(days): rate for days, rate in stored.pop("base_rates").items()},
            product_features=tuple(stored.pop("product_features")),
            **stored,
        )
