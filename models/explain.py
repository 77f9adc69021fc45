"""Why a score is what it is: SHAP contributions, summed by driver, worded (domain.md §4 "Reasons").

Reasons explain the model, not causes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.catalogue import Feature
from models.health import HealthScores
from models.matrix import FloatArray, Matrix, Table, known_values_of
from models.outcome import Explanation
from models.sentences import Language, sentence

Places = npt.NDArray[np.intp]
#: Contributions closer than this count as equal, and are ordered by name.
TIE = 1e-4
MOST = 6


def reasons(
    explanation: Explanation,
    catalogue: Mapping[str, Feature],
    values: Table,
    *,
    before: Table | None = None,
    peers: Table | None = None,
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
    names, matrix = _contributions(explanation)
    groups = _by_driver(tuple(catalogue[name].driver for name in names))
    totals = _totals(matrix, groups)
    gap = np.abs(explanation.base_value + _row_sums(matrix) - explanation.raw_score)
    if len(gap) and gap.max() > 1e-4:
        raise ValueError(
            f"the contributions miss the raw score by {gap.max():.2g}, more than 1e-4: the model's files do not belong together"
        )
    own, earlier, others = (None if table is None else known_values_of(table, names) for table in (values, before, peers))
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


def driver_totals(explanation: Explanation, catalogue: Mapping[str, Feature]) -> dict[str, FloatArray]:
    """Return driver → the sum of its features' contributions (rows,).

    >>> from features.catalogue import catalog
    >>> shap = pd.DataFrame({"active_days_30d": [1.5], "active_days_7d": [-1.0]})
    >>> driver_totals(Explanation(np.array([0.0]), shap, np.array([0.5])), catalog())
    {'low_adoption': array([0.5])}
    """
    names, matrix = _contributions(explanation)
    return _totals(matrix, _by_driver(tuple(catalogue[name].driver for name in names)))


def _totals(matrix: FloatArray, groups: Mapping[str, Places]) -> dict[str, FloatArray]:
    return {driver: _row_sums(matrix.take(columns, axis=1)) for driver, columns in groups.items()}


def _contributions(explanation: Explanation) -> tuple[tuple[str, ...], FloatArray]:
    given = explanation.contributions
    contributions = Matrix.of(given) if isinstance(given, pd.DataFrame) else given
    return contributions.names, contributions.values


@lru_cache(maxsize=32)
def _by_driver(drivers: tuple[str, ...]) -> dict[str, Places]:
    """Driver → where it stands."""
    places: dict[str, list[int]] = {}
    for place, driver in enumerate(drivers):
        places.setdefault(driver, []).append(place)
    return {driver: np.array(found, dtype=np.intp) for driver, found in places.items()}


def health_explanation(scores: HealthScores) -> Explanation:
    """The health score as an explanation: 100, less the points that each measure loses (domain.md §3).

    Lost points are positive, so that they raise concern as a churn contribution does: base 0 + Σ lost = 100 − total before
    rounding.
    """
    lost = np.nan_to_num(scores.shares * (100.0 - scores.earned))
    return Explanation(np.zeros(len(lost)), Matrix(scores.features, lost), _row_sums(lost))


def ordered(totals: Mapping[str, float]) -> list[tuple[str, float]]:
    """Largest size first, ties within 1e-4 by name; a driver that moves nothing is left out.

    >>> ordered({"silence": 0.2, "growth": -0.20001, "low_adoption": 0.5, "price_pressure": 0.0})
    [('low_adoption', 0.5), ('growth', -0.20001), ('silence', 0.2)]
    """
    moving = ((driver, total) for driver, total in totals.items() if total != 0.0)
    return sorted(moving, key=lambda item: (-round(abs(item[1]) / TIE), item[0]))


def _row_sums(matrix: FloatArray) -> FloatArray:
    """Sum each row over contiguous memory: in the same order, and so to the same bit, alone and in a batch."""
    return np.ascontiguousarray(matrix).sum(axis=1)


def _number(frame: FloatArray | None, row: int, column: int) -> float | None:
    if frame is None or np.isnan(frame[row, column]):
        return None
    return float(frame[row, column])
