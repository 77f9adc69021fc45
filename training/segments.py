"""Which segments a row belongs to at T, for comparing models in parts of a portfolio."""

import pandas as pd

from models.segments import TierSettings, tiers

YEAR_DAYS = 365


def segments(facts: pd.DataFrame, tenure_days: pd.Series, settings: TierSettings | None = None) -> pd.DataFrame:
    """Return product, plan, tier and tenure of each row as names (rows × 4), null where it is not known.

    `facts` (rows × columns) as `features.builder.Snapshot` has them: product and plan of the largest row, mrr; `tenure_days`
    (rows,) in the same order.

    >>> facts = pd.DataFrame({"product": ["crm", "crm"], "plan": ["pro", None], "mrr": [2500.0, None]})
    >>> segments(facts, pd.Series([30.0, 900.0])).fillna("–").values.tolist()
    [['crm', 'pro', 'key', 'first year'], ['crm', '–', '–', 'later']]
    """
    tenure = tenure_days.to_numpy(dtype="float64", na_value=float("nan"))
    months = facts["mrr"].to_numpy(dtype="float64", na_value=float("nan"))
    return pd.DataFrame(
        {
            "product": facts["product"].to_numpy(dtype=object),
            "plan": facts["plan"].to_numpy(dtype=object),
            "tier": tiers(12 * months, settings),
            "tenure": pd.Series(tenure).map(lambda days: "first year" if days < YEAR_DAYS else "later", na_action="ignore"),
        }
    ).astype(object)
