"""Company metrics of a month, by any group that the tables know (domain.md §5)."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import pandas as pd

from features.revenue import company_metrics, movements
from models.segments import TierSettings, tiers

Group = Literal["tier", "csm", "plan", "country", "cohort"]
GROUPS: tuple[Group, ...] = get_args(Group)
#: The group of accounts of which the tables do not say it.
UNKNOWN = "–"
_MONTHS = 12


def month_metrics(
    tables: Mapping[str, Any],
    start: pd.Timestamp,
    end: pd.Timestamp,
    *,
    by: Group | None = None,
    tier_settings: TierSettings | None = None,
    csm: str | None = None,
) -> list[dict[str, Any]]:
    """Return one record per group (or one in all): group, metrics, by name of the group.

    `tables` are the contract's, `csm` keeps that person's accounts alone. Tier is by ARR at the start (for those who came later,
    at the end), plan that of the newest row before the end, of those the dearest, cohort the month of the first subscription.
    """
    moved = movements(tables["subscriptions"], start, end, fx=tables.get("fx"))
    if csm is not None:
        moved = moved[(_of_account(tables, "csm", moved) == csm).to_numpy()]
    if by is None:
        return [{"group": None, "metrics": _plain(moved)}]
    groups = _groups(tables, moved, by, end, tier_settings)
    return [{"group": str(name), "metrics": _plain(part)} for name, part in moved.groupby(groups.to_numpy(), sort=True)]


def _plain(moved: pd.DataFrame) -> dict[str, float | int | None]:
    found = company_metrics(moved)
    return {name: value if value is None or isinstance(value, int) else float(value) for name, value in found.items()}


def _groups(
    tables: Mapping[str, Any], moved: pd.DataFrame, by: Group, end: pd.Timestamp, tier_settings: TierSettings | None
) -> pd.Series:
    if by == "tier":
        mrr = moved["opening"].astype("float64").where(moved["opening"] > 0, moved["closing"].astype("float64"))
        return pd.Series(tiers(mrr * _MONTHS, tier_settings)).fillna(UNKNOWN)
    if by in ("csm", "country"):
        return _of_account(tables, by, moved)
    rows = tables["subscriptions"]
    wanted = [name for name in ("account_id", "started_at", "plan", "mrr") if name in rows.columns]
    periods = rows.select(*wanted).execute()
    periods = periods[periods["started_at"] < end]
    if by == "cohort":
        first = periods.groupby("account_id")["started_at"].min().dt.strftime("%Y-%m")
        return moved["account_id"].map(first).fillna(UNKNOWN)
    if "plan" not in periods:
        return pd.Series(UNKNOWN, index=moved.index)
    order = [name for name in ("started_at", "mrr") if name in periods]
    latest = periods.sort_values(order).drop_duplicates("account_id", keep="last").set_index("account_id")["plan"]
    return moved["account_id"].map(latest).fillna(UNKNOWN)


def _of_account(tables: Mapping[str, Any], column: str, moved: pd.DataFrame) -> pd.Series:
    accounts = tables["accounts"]
    if column not in accounts.columns:
        return pd.Series(UNKNOWN, index=moved.index)
    known = accounts.select("account_id", column).execute().drop_duplicates("account_id", keep="last").set_index("account_id")
    return moved["account_id"].map(known[column]).fillna(UNKNOWN)
