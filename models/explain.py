"""Why a score is what it is: SHAP contributions, summed by driver, worded (domain.md §4 "Reasons").

Reasons explain the model, not causes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from features.catalogue import Feature
from models.health import HealthScores
from models.outcome import Explanation
from models.sentences import Language, sentence

#: Contributions closer than this count as equal, and are ordered by name.
TIE = 1e-4
MOST = 6


def reasons(
    explanation: Explanation,
    catalogue: Mapping[str, Feature],
    values: pd.DataFrame,
    *,
    before: pd.DataFrame | None = None,
    peers: pd.DataFrame | None = None,
    outcome: str = "churn",
    horizon_days: int | None = 90,
    language: Language = "en",
    most: int = MOST,
) -> list[dict[str, Any]]:
    """Return one record per row: outcome, horizon_days, base_value, raw_score, drivers, other (interface.md).

    `values`, `before` and `peers` (rows × features, one order) give the leading feature's value, the account's own earlier
    one and its peers' median. `drivers` holds the `most` largest by size; base_value + Σ contributions + other = raw_score.
    ValueError where the contributions do not add up to the raw score within 1e-4.

    >>> from features.catalogue import catalog
    >>> shap = pd.DataFrame({"seats": [0.5], "active_days_30d": [1.5]})
    >>> found = reasons(Explanation(np.array([-3.0]), shap, np.array([-1.0])), catalog(), shap)[0]
    >>> [(driver["driver"], driver["direction"], driver["contribution"]) for driver in found["drivers"]]
    [('low_adoption', 'raises', 1.5), ('tenure_and_profile', 'raises', 0.5)]
    """
    names = list(explanation.contributions.columns)
    drivers = pd.Index([str(catalogue[name].driver) for name in names])
    matrix = explanation.contributions.to_numpy(dtype=np.float64)
    groups: dict[str, np.ndarray] = {str(driver): np.flatnonzero(drivers == driver) for driver in drivers.unique()}
    totals = {driver: _row_sums(matrix[:, columns]) for driver, columns in groups.items()}
    gap = np.abs(explanation.base_value + _row_sums(matrix) - explanation.raw_score)
    if len(gap) and gap.max() > 1e-4:
        raise ValueError(
            f"the contributions miss the raw score by {gap.max():.2g}, more than 1e-4: the model's files do not belong together"
        )
    own, earlier, others = (_aligned(frame, names) for frame in (values, before, peers))
    found = []
    for row in range(len(matrix)):
        ranked = ordered({driver: float(total[row]) for driver, total in totals.items()})[:most]
        records = []
        for driver, contribution in ranked:
            direction = "raises" if contribution > 0 else "lowers"
            columns = groups[driver]
            leading = columns[np.argmax(matrix[row, columns] * np.sign(contribution))]
            feature = catalogue[names[leading]]
            seen = [_number(frame, row, leading) for frame in (own, earlier, others)]
            records.append(
                {
                    "driver": driver,
                    "direction": direction,
                    "contribution": contribution,
                    "feature": feature.name,
                    "value": seen[0],
                    "before": seen[1],
                    "peers": seen[2],
                    "text": sentence(
                        driver, direction, feature, float("nan") if seen[0] is None else seen[0], seen[1], seen[2], language
                    ),
                }
            )
        base, raw = float(explanation.base_value[row]), float(explanation.raw_score[row])
        found.append(
            {
                "outcome": outcome,
                "horizon_days": horizon_days,
                "base_value": base,
                "raw_score": raw,
                "drivers": records,
                "other": raw - base - sum(contribution for _, contribution in ranked),
            }
        )
    return found


def health_explanation(scores: HealthScores) -> Explanation:
    """The health score as an explanation: 100, less the points that each measure loses (domain.md §3).

    Lost points are positive, so that they raise concern as a churn contribution does: base 0 + Σ lost = 100 − total before
    rounding.
    """
    lost = (scores.weights * (100.0 - scores.points)).fillna(0.0)
    return Explanation(np.zeros(len(lost)), lost, _row_sums(lost.to_numpy(dtype=np.float64)))


def ordered(totals: Mapping[str, float]) -> list[tuple[str, float]]:
    """Largest size first, ties within 1e-4 by name; a driver that moves nothing is left out.

    >>> ordered({"silence": 0.2, "growth": -0.20001, "low_adoption": 0.5, "price_pressure": 0.0})
    [('low_adoption', 0.5), ('growth', -0.20001), ('silence', 0.2)]
    """
    moving = ((driver, total) for driver, total in totals.items() if total != 0.0)
    return sorted(moving, key=lambda item: (-round(abs(item[1]) / TIE), item[0]))


def _row_sums(matrix: np.ndarray) -> np.ndarray:
    """Sum each row over contiguous memory: in the same order, and so to the same bit, alone and in a batch."""
    return np.ascontiguousarray(matrix).sum(axis=1)


def _aligned(frame: pd.DataFrame | None, names: list[str]) -> np.ndarray | None:
    return None if frame is None else frame.reindex(columns=names).to_numpy(dtype=np.float64)


def _number(frame: np.ndarray | None, row: int, column: int) -> float | None:
    if frame is None or np.isnan(frame[row, column]):
        return None
    return float(frame[row, column])
