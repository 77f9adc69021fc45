"""Tier and lifecycle stage of an account, as far as the data shows (domain.md §6)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

ONBOARDING_DAYS = 90


class TierSettings(BaseModel):
    """The least ARR of each tier, in the reporting currency (defaults of domain.md §6)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategic: float = 100_000.0
    key: float = 25_000.0
    developing: float = 5_000.0


def tiers(arr: npt.ArrayLike, settings: TierSettings | None = None) -> npt.NDArray[np.object_]:
    """Return the tier of each account by ARR; None without money.

    >>> tiers([120_000.0, 6_000.0, 100.0, None]).tolist()
    ['strategic', 'developing', 'low_value', None]
    """
    limits: Mapping[str, float] = (settings or TierSettings()).model_dump()
    money = np.asarray(arr, dtype=np.float64)
    found = np.full(len(money), "low_value", dtype=object)
    for name, least in sorted(limits.items(), key=lambda item: item[1]):
        found[money >= least] = name
    found[np.isnan(money)] = None
    return found


def stages(
    tenure_days: npt.ArrayLike, leaving: npt.ArrayLike, goals_reached: npt.ArrayLike, band: npt.ArrayLike
) -> npt.NDArray[np.object_]:
    """Return the lifecycle stage: leaving; onboarding for 90 days; value realisation once own goals are
    reached, and advocacy if healthy too.

    >>> stages([10, 400, 400], [False, False, True], [None, 0.8, 0.8], ["neutral"] * 3).tolist()
    ['onboarding', 'value_realisation', 'leaving']
    """
    left = np.asarray(leaving, dtype=np.bool_)
    found = np.full(len(left), "adoption", dtype=object)
    reached = np.asarray(goals_reached, dtype=np.float64) >= 0.5
    found[reached] = "value_realisation"
    found[reached & (np.asarray(band, dtype=object) == "healthy")] = "advocacy"
    found[np.asarray(tenure_days, dtype=np.float64) < ONBOARDING_DAYS] = "onboarding"
    found[left] = "leaving"
    return found
