"""Source values that were written over when an account left, so that they look as if they had always been there.

No rebuild of a past row shows that, for the old value is gone. It shows in who has the new one: at past dates accounts had it,
all of whom left, and today nobody has it. Only what features read is looked at: a column of accounts (industry, csm, …) can
change too, but no feature reads it, and `kunto check` names such columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.contract import TABLES
from features.revenue import read_columns
from training.leaks.leak import Evidence, Leak
from training.leaks.strength import Graded

IntArray = npt.NDArray[np.intp]

#: Who had a value so long before the last date has had time to leave, or not.
_SETTLED_DAYS = 180
#: A value has vanished where the last date should have this many rows with it, and has no more than a tenth of them, ...
_EXPECTED = 8.0
_VANISHED = 0.1
#: ... though of the rows without it this share is of accounts still there, of its own at most that; from so many accounts on.
_OTHERS_STAY = 0.3
_OWN_STAY = 0.02
_ACCOUNTS = 15
_OVERWRITTEN = (
    "The value seems to be written over when an account leaves: give a row for each version with its recorded_at, or leave the "
    "column out."
)

_TERMS = ("account_id", "subscription_id", "product", "started_at", "ended_at", "term_months", "renewal_at")
_DAY = pd.Timedelta(days=1)
_MONTH = 365.25 / 12 * _DAY
#: A renewal lies early if it comes before this share of the term has passed.
_EARLY = 0.9
#: So many accounts left by an early renewal, this share of all that left, and so much less often was it early on other rows.
_MOVED_ACCOUNTS = 10
_MOVED_SHARE = 0.1
_RARE = 0.2


@dataclass(frozen=True)
class Presence:
    """Who is in the dataset when.

    `past`, `last`: positions of the settled rows, and of those of the last date; `accounts` (rows,) numbers each row's account;
    `stays` (accounts,): is it there at the last date.
    """

    past: IntArray
    last: IntArray
    accounts: IntArray
    stays: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, spine: pd.DataFrame) -> "Presence":
        """Read the dataset's rows (account_id, as_of)."""
        as_of = spine["as_of"]
        last = as_of.max()
        accounts, names = pd.factorize(spine["account_id"])
        at_last = np.flatnonzero((as_of == last).to_numpy())
        stays = np.zeros(len(names), dtype=bool)
        stays[accounts[at_last]] = True
        past = np.flatnonzero((as_of <= last - pd.Timedelta(days=_SETTLED_DAYS)).to_numpy())
        return cls(past, at_last, accounts, stays)


def vanished_value(feature: Graded, presence: Presence) -> Leak | None:
    """Return the leak if a value stood at past dates on accounts that all left, and at the last date on (nearly) none.

    No label is read, only who is in the dataset at which date. What is merely a bad sign is found at the last date too, on the
    accounts that are about to leave; and of a value that went out of use honestly (an old plan) the accounts are still there.
    """
    past, last = feature.codes[presence.past] + 1, feature.codes[presence.last] + 1
    values = len(feature.values) + 1
    rows = np.bincount(past, minlength=values)
    staying = np.bincount(past, weights=presence.stays[presence.accounts[presence.past]], minlength=values)
    expected = rows * (len(last) / max(len(past), 1))
    there = np.bincount(last, minlength=values)
    vanished = (expected >= _EXPECTED) & (there <= _VANISHED * expected) & (staying <= _OWN_STAY * rows)
    others = len(past) - rows
    vanished &= (others > 0) & (staying.sum() - staying >= _OTHERS_STAY * others)
    for code in np.flatnonzero(vanished):
        accounts = len(np.unique(presence.accounts[presence.past][past == code]))
        if accounts >= _ACCOUNTS:
            evidence: Evidence = {
                "value": feature.told(int(code) - 1),
                "accounts": accounts,
                "still_there": float(staying[code] / rows[code]),
                "of_the_others_still_there": float((staying.sum() - staying[code]) / others[code]),
                "rows_expected_at_the_last_date": float(expected[code]),
                "rows_there": int(there[code]),
            }
            return Leak("changed_after", feature.name, evidence, _OVERWRITTEN)
    return None


def moved_renewals(subscriptions: Any) -> Leak | None:
    """Return the leak if terms that an account left in are cut short at its end, while the other terms run in full.

    Honest data keeps the renewal agreed at the start where an account leaves before it (domain.md §2: a change of the renewal
    date closes the row and opens the next). Only rows that open a term are read: those that begin where the one before was to
    renew. A table with recorded_at says itself when a date was moved.
    """
    rows = read_columns(subscriptions, (*_TERMS, "recorded_at")).to_pandas()
    if not {"ended_at", "term_months", "renewal_at"} <= set(rows.columns) or "recorded_at" in rows.columns:
        return None
    key = [name for name in TABLES["subscriptions"].key if name in rows.columns and name != "started_at"]
    rows = rows.sort_values([*key, "started_at"], kind="stable").dropna(subset=["started_at", "renewal_at", "term_months"])
    due = rows.groupby(key, dropna=False)["renewal_at"].shift()
    opens = due.isna() | (rows["started_at"] >= due - _DAY)
    early = rows["renewal_at"] - rows["started_at"] < _EARLY * rows["term_months"].astype("float64") * _MONTH
    last = rows.groupby("account_id")["started_at"].transform("max") == rows["started_at"]
    left = opens & last & rows["ended_at"].notna()
    moved = left & early & ((rows["renewal_at"] - rows["ended_at"]).abs() <= _DAY)
    others = opens & ~left
    accounts = rows.loc[moved, "account_id"].nunique()
    if accounts < _MOVED_ACCOUNTS or not others.any():
        return None
    share, elsewhere = float(moved.sum() / left.sum()), float((others & early).sum() / others.sum())
    if share < _MOVED_SHARE or elsewhere > _RARE * share:
        return None
    evidence: Evidence = {
        "accounts": accounts,
        "share_of_departures": share,
        "share_of_other_terms": elsewhere,
    }
    advice = "Terms end early exactly where accounts left: give the renewal date as it was agreed, and the departure as ended_at."
    return Leak("changed_after", "subscriptions.renewal_at", evidence, advice)
