"""Who an account is, who owns it, and whom to call: for display, never a feature."""

from collections.abc import Mapping, Sequence
from typing import Any

import ibis
import pandas as pd

from features.visible import micros, prepare, visible

#: Whom to call first.
ROLES = ("decision_maker", "executive", "champion", "admin")
MOST_CONTACTS = 3
_SHOWN = ("name", "csm", "parent_account_id", "strategic")


def identities(tables: Mapping[str, Any], account_ids: pd.Series, as_of: pd.Timestamp) -> pd.DataFrame:
    """Return name (the id where none is known), csm, parent_account_id and strategic of each account, in order."""
    found = _known(tables["accounts"], _SHOWN, as_of).reindex(index=list(account_ids), columns=list(_SHOWN)).reset_index()
    found["name"] = found["name"].astype("object").where(found["name"].notna(), found["account_id"])
    found["strategic"] = found["strategic"].astype("boolean").fillna(False).astype(bool)
    return found


def contacts(tables: Mapping[str, Any], as_of: pd.Timestamp) -> dict[str, list[dict[str, str]]]:
    """Return up to three people to call per account, as known at `as_of`, those who decide first."""
    if "contacts" not in tables or "role" not in tables["contacts"].columns:
        return {}
    prepared = prepare("contacts", tables["contacts"])
    spine = prepared.select("account_id").distinct().mutate(spine_id=0, as_of=micros(ibis.literal(as_of)))
    seen = visible("contacts", prepared, spine)
    current = seen.filter(seen.valid_to.isnull() & seen.role.isin(ROLES))
    rows = current.select("account_id", "contact_id", "role").execute()
    rows["rank"] = rows["role"].map(ROLES.index)
    rows = rows.sort_values(["account_id", "rank", "contact_id"]).drop_duplicates(["account_id", "contact_id"])
    people = rows.groupby("account_id", sort=False).head(MOST_CONTACTS)
    return {
        str(account): part[["contact_id", "role"]].to_dict("records")
        for account, part in people.groupby("account_id", sort=False)
    }


def observed(tables: Mapping[str, Any], account_ids: pd.Series, as_of: pd.Timestamp) -> pd.Series:
    """Whether each account is under observation at `as_of` (observed_from ≤ T ≤ observed_until)."""
    found = _known(tables["accounts"], ("observed_from", "observed_until"), as_of).reindex(list(account_ids))
    inside = pd.Series(True, index=found.index)
    if "observed_from" in found:
        inside &= ~(found["observed_from"] > as_of)
    if "observed_until" in found:
        inside &= ~(found["observed_until"] < as_of)
    return inside.reset_index(drop=True)


def _known(accounts: Any, columns: Sequence[str], as_of: pd.Timestamp) -> pd.DataFrame:
    """Those of `columns` that there are, by account, in the last version recorded before `as_of`."""
    versioned = "recorded_at" in accounts.columns
    there = [column for column in (*columns, *(["recorded_at"] if versioned else [])) if column in accounts.columns]
    rows = accounts.select("account_id", *there).execute()
    if versioned:
        rows = rows[~(rows["recorded_at"] >= as_of)].sort_values("recorded_at", na_position="first", kind="stable")
    return rows.drop_duplicates("account_id", keep="last").set_index("account_id")
