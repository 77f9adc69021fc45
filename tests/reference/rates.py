"""Money in the reporting currency, at the rates that stand at T."""

import math

import numpy as np
import pandas as pd


def in_reporting_currency(amounts: pd.Series, currencies: pd.Series, known_fx: pd.DataFrame, foreign: set[str]) -> np.ndarray:
    """Return amounts × the latest rate known at T; a currency that is never `foreign` is the reporting one."""
    rates = known_fx.sort_values("date").groupby("currency")["rate"].last().to_dict()
    factors = [rates.get(currency, math.nan) if currency in foreign else 1.0 for currency in currencies]
    return amounts.to_numpy() * np.array(factors, dtype=float)
