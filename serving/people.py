"""Who an account is, who owns it, and whom to call: for display, never a feature."""

from collections.abc import Mapping
from typing import Any

import ibis
import pandas as pd

from features.contract import IBIS_TYPES, TABLES
from features.visible import micros, prepare, visible

#: Whom to call first.
ROLES = ("decision_maker", "executive", "champion", "admin")
MOST_CONTACTS = 3
_SHOWN = ("name", "csm", "parent_account_id", "strategic")


def identities(tables: Mapping[str, Any], account_ids: pd.Series, as_of: pd.Timestamp) -> pd.DataFrame:
    """Return name (the id where none is known), csm, parent_account_id and strategic of each account, in order."""
    found = known(tables["accounts"], as_of).execute().set_index("account_id")
    return shown(found.reindex(index=list(account_ids), columns=list(_SHOWN)).reset_index())


def shown(found: pd.DataFrame) -> pd.DataFrame:
    """Fill rows of `known` up as `identities` returns them."""
    named = found["name"].astype("object").where(found["name"].notna(), found["account_id"])
    return found.assign(name=named, strategic=found["strategic"].astype("boolean").fillna(False).astype(bool))


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
    found = known(tables["accounts"], as_of).select("account_id", "observed").execute().set_index("account_id")["observed"]
    return found.reindex(list(account_ids)).fillna(value=True).astype(bool).reset_index(drop=True)


def known(accounts: Any, as_of: pd.Timestamp) -> Any:
    """Return an Ibis table: each account in the last version recorded before `as_of`, and whether it is observed then.

    Columns: account_id, name, csm, parent_account_id and strategic (null where the source lacks them), observed.
    """
    at = (as_of - pd.Timestamp(0)) // pd.Timedelta(microseconds=1)
    types = {name: IBIS_TYPES[TABLES["accounts"].column(name).kind] for name in _SHOWN}
    values = {name: accounts[name] if name in accounts.columns else ibis.null(kind) for name, kind in types.items()}
    times = {
        name: micros(accounts[name]) if name in accounts.columns else ibis.null("int64")
        for name in ("recorded_at", "observed_from", "observed_until")
    }
    rows = accounts.select("account_id", **values, **times)
    rows = rows.filter(rows.recorded_at.isnull() | (rows.recorded_at < at))
    # Among versions recorded at one instant the values decide, never the order in which they lie.
    order = [rows.recorded_at.desc(), *(rows[name] for name in (*_SHOWN, "observed_from", "observed_until"))]
    ranked = rows.mutate(place=ibis.row_number().over(group_by=rows.account_id, order_by=order))
    last = ranked.filter(ranked.place == 0)
    begun = last.observed_from.isnull() | (last.observed_from <= at)
    return last.select("account_id", *_SHOWN, observed=begun & (last.observed_until.isnull() | (last.observed_until >= at)))
