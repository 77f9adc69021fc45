"""Scoring a portfolio at one instant: health, predictions, curve, reasons and play, one record per account (interface.md)."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.builder import snapshot
from features.snapshots import Snapshot
from models import health
from models.choice import Choice
from models.matrix import Matrix
from models.stakes import YEAR_MONTHS
from serving.assessment import Accounts, RiskMarks, ScoringSettings, assess, product_features
from serving.champions import Champions
from serving.people import contacts, identities, observed

__all__ = ["RiskMarks", "Scored", "ScoringSettings", "score"]

BEFORE_DAYS = 90
CHANGE_DAYS = 30


@dataclass(frozen=True)
class Scored:
    """Scored accounts, those that most need someone first, each beside the choice that was made for it.

    `features` and `facts` hold, in the same order, what each score was computed from: the columns of `features.builder.Snapshot`,
    and among the facts `strategic` and `parent_account_id`.
    """

    records: list[dict[str, Any]]
    choices: list[Choice]
    features: pd.DataFrame
    facts: pd.DataFrame


def score(
    tables: Mapping[str, Any],
    as_of: pd.Timestamp,
    champions: Champions,
    settings: ScoringSettings,
    *,
    versions: Mapping[str, str],
    account_ids: list[str] | None = None,
    marks: RiskMarks | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Score every account active and observed at `as_of` (or those of `account_ids` that are) by what was known then.

    `disagreement` is a place within the portfolio: `marks`, those of the last whole one, tell it where `account_ids` are given.
    """
    now, before, earlier = _active(tables, as_of, champions, account_ids, progress)
    who = identities(tables, now.features["account_id"], as_of)
    facts = now.facts.assign(strategic=who["strategic"], parent_account_id=who["parent_account_id"])
    if now.features.empty:
        return Scored([], [], now.features, facts)
    accounts = accounts_of(now, before, earlier, who, as_of, set(tables), settings, contacts(tables, as_of))
    restricted = account_ids is not None and marks is not None
    found = assess(accounts, champions, settings, versions=versions, marks=marks, whole=not restricted)
    order = sorted(range(len(accounts.ids)), key=lambda k: _urgency(found.records[k], found.choices[k]))
    records, choices = [found.records[k] for k in order], [found.choices[k] for k in order]
    return Scored(records, choices, *(frame.iloc[order].reset_index(drop=True) for frame in (now.features, facts)))


def instants(as_of: pd.Timestamp) -> list[pd.Timestamp]:
    """T, and the instants before it that scoring compares with: 90 days, then 30."""
    return [as_of - pd.Timedelta(days=days) for days in (0, BEFORE_DAYS, CHANGE_DAYS)]


def accounts_of(
    now: Snapshot,
    before: Snapshot,
    earlier: Snapshot,
    who: pd.DataFrame,
    as_of: pd.Timestamp,
    connected: Set[str],
    settings: ScoringSettings,
    people: Mapping[str, list[dict[str, str]]],
) -> Accounts:
    """Put together what is scored: snapshots at `instants` and `who` (serving.people.identities) have the same rows."""
    earlier_score = health.score(health.inputs(earlier), connected).accounts["score"].where(earlier.facts["active"])
    return Accounts(
        as_of,
        now.features["account_id"].tolist(),
        Matrix.of(now.features),
        connected,
        now.facts["leaving"].to_numpy(dtype=np.bool_) & settings.notice_is_leaving,
        now.facts["mrr"].to_numpy(dtype=np.float64) * YEAR_MONTHS,
        now.facts["renewal_at"].to_numpy("datetime64[us]"),
        now.facts["notice_by"].to_numpy("datetime64[us]"),
        names=who["name"].astype(str).tolist(),
        csms=_or_none(who["csm"]),
        parents=_or_none(who["parent_account_id"]),
        strategic=who["strategic"].tolist(),
        before=Matrix.of(before.features),
        peers=Matrix.of(now.peers),
        health_before=_or_none(earlier_score),
        contacts=people,
    )


def _active(
    tables: Mapping[str, Any],
    as_of: pd.Timestamp,
    champions: Champions,
    account_ids: list[str] | None,
    progress: Callable[[int, int], None],
) -> tuple[Snapshot, Snapshot, Snapshot]:
    """The accounts active and observed at T, as they are then, 90 and 30 days before; all in one order."""
    ids = tables["subscriptions"].select("account_id").distinct().order_by("account_id").execute()["account_id"]
    if account_ids is not None:
        ids = ids[ids.isin(account_ids)]
    spine = pd.DataFrame({"as_of": instants(as_of)}).merge(pd.DataFrame({"account_id": ids}), how="cross")
    built = snapshot(tables, spine[["account_id", "as_of"]], product_features(champions), progress=progress)
    active = built.facts["active"].iloc[: len(ids)].reset_index(drop=True) & observed(tables, ids, as_of)
    at = np.flatnonzero(active.to_numpy(dtype=bool))
    now, before, earlier = (_rows(built, at + k * len(ids)) for k in range(3))
    return now, before, earlier


def _rows(built: Snapshot, at: npt.NDArray[np.intp]) -> Snapshot:
    return Snapshot(*(frame.iloc[at].reset_index(drop=True) for frame in (built.features, built.facts, built.peers)))


def _urgency(record: Mapping[str, Any], choice: Choice) -> tuple[float, float, str]:
    """What is worth most to do comes first, then what is most at risk."""
    return -choice.expected_value, -(record["arr_at_risk"] or record["arr"] or 0.0), record["account_id"]


def _or_none(values: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in values.tolist()]
