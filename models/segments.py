"""Tier and lifecycle stage of an account, as far as the data shows (domain.md §6)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

ONBOARDING_DAYS = 90


class TierSettings(BaseModel):
    """The least ARR of each tier, in the reporting currency (defaults of domain.md §6)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategic: float = 100_000.0
    key: float = 25_000.0
    developing: float = 5_000.0


def tiers(arr: pd.Series, settings: TierSettings | None = None) -> npt.NDArray[np.object_]:
    """Return the tier of each account by ARR; None without money.

    >>> tiers(pd.Series([120_000.0, 6_000.0, 100.0, None])).tolist()
    ['strategic', 'developing', 'low_value', None]
    """
    limits: Mapping[str, float] = (settings or TierSettings()).model_dump()
    found = np.full(len(arr), "low_value", dtype=object)
    for name, least in sorted(limits.items(), key=lambda item: item[1]):
        found[(arr >= least).to_numpy()] = name
    found[arr.isna().to_numpy()] = None
    return found


def stages(tenure_days: pd.Series, leaving: pd.Series, goals_reached: pd.Series, band: pd.Series) -> npt.NDArray[np.object_]:
    """Return the lifecycle stage: leaving; onboarding for 90 days; value realisation once own goals are
    reached, and advocacy if healthy too.

    >>> goals = pd.Series([None, 0.8, 0.8])
    >>> stages(pd.Series([10, 400, 400]), pd.Series([False, False, True]), goals, pd.Series(["neutral"] * 3)).tolist()
    ['onboarding', 'value_realisation', 'leaving']
    """
    found = np.full(len(leaving), "adoption", dtype=object)
    reached = (goals_reached >= 0.5).to_numpy(dtype=bool, na_value=False)
    found[reached] = "value_realisation"
    found[reached & (band == "healthy").to_numpy(dtype=bool, na_value=False)] = "advocacy"
    found[(tenure_days < ONBOARDING_DAYS).to_numpy(dtype=bool, na_value=False)] = "onboarding"
    found[leaving.to_numpy(dtype=bool)] = "leaving"
    return found
