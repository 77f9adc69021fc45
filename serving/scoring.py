"""Scoring a portfolio at one instant: health, predictions, curve, reasons and play, one record per account (interface.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.builder import Snapshot, snapshot
from features.catalogue import catalog
from models import health
from models.choice import AccountFacts, Choice, PlaySettings, choose
from models.explain import health_explanation, reasons
from models.playbooks import load
from models.segments import TierSettings, stages, tiers
from models.sentences import Language
from serving.champions import Champions
from serving.outlook import Outlook, outlook
from serving.people import contacts, identities, observed

BEFORE_DAYS = 90
CHANGE_DAYS = 30
_MONTHS = 12


@dataclass(frozen=True)
class ScoringSettings:
    """What a company sets about scoring; `notice_is_leaving` is False where churn is read from revenue alone (domain.md §2)."""

    language: Language = "en"
    tiers: TierSettings = field(default_factory=TierSettings)
    plays: PlaySettings = field(default_factory=PlaySettings)
    notice_is_leaving: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """Scored accounts, those that most need someone first, each beside the choice that was made for it."""

    records: list[dict[str, Any]]
    choices: list[Choice]


@dataclass(frozen=True)
class _Portfolio:
    """The active accounts at T, 90 and 30 days before, with their money; all frames in one order."""

    now: Snapshot
    before: Snapshot
    earlier: Snapshot
    arr: pd.Series
    leaving: pd.Series
    connected: set[str]


def score(
    tables: Mapping[str, Any],
    as_of: pd.Timestamp,
    champions: Champions,
    settings: ScoringSettings,
    *,
    versions: Mapping[str, str],
    account_ids: list[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Score every account active and observed at `as_of` (or those of `account_ids` that are) by what was known then."""
    portfolio = _portfolio(tables, as_of, champions, settings, account_ids, progress)
    if portfolio.now.features.empty:
        return Scored([], [])
    scores = health.score(health.inputs(portfolio.now), portfolio.connected)
    ahead = outlook(champions, portfolio.now)
    who = identities(tables, portfolio.now.features["account_id"], as_of)
    records = _records(who, contacts(tables, as_of), as_of, portfolio, scores, ahead, settings, dict(versions))
    choices = _choices(who, portfolio, scores, ahead, records, champions.churn_base_rate, settings)
    for record, choice in zip(records, choices, strict=True):
        record["play"] = _play(choice, settings.language)
    order = sorted(range(len(records)), key=lambda k: _urgency(records[k], choices[k]))
    return Scored([records[k] for k in order], [choices[k] for k in order])


def _portfolio(
    tables: Mapping[str, Any],
    as_of: pd.Timestamp,
    champions: Champions,
    settings: ScoringSettings,
    account_ids: list[str] | None,
    progress: Callable[[int, int], None],
) -> _Portfolio:
    ids = tables["subscriptions"].select("account_id").distinct().order_by("account_id").execute()["account_id"]
    if account_ids is not None:
        ids = ids[ids.isin(account_ids)]
    instants = [as_of - pd.Timedelta(days=days) for days in (0, BEFORE_DAYS, CHANGE_DAYS)]
    spine = pd.DataFrame({"as_of": instants}).merge(pd.DataFrame({"account_id": ids}), how="cross")
    product_features = champions.churn.model.product_features if champions.churn else ()
    built = snapshot(tables, spine[["account_id", "as_of"]], product_features, progress=progress)
    active = built.facts["active"].iloc[: len(ids)].reset_index(drop=True) & observed(tables, ids, as_of)
    at = np.flatnonzero(active.to_numpy(dtype=bool))
    now, before, earlier = (_rows(built, at + k * len(ids)) for k in range(3))
    leaving = now.facts["leaving"] & settings.notice_is_leaving
    return _Portfolio(now, before, earlier, now.facts["mrr"] * _MONTHS, leaving, set(tables))


def _rows(built: Snapshot, at: npt.NDArray[np.intp]) -> Snapshot:
    return Snapshot(*(frame.iloc[at].reset_index(drop=True) for frame in (built.features, built.facts, built.peers)))


def _records(
    who: pd.DataFrame,
    people: Mapping[str, list[dict[str, str]]],
    as_of: pd.Timestamp,
    portfolio: _Portfolio,
    scores: health.HealthScores,
    ahead: Outlook | None,
    settings: ScoringSettings,
    versions: dict[str, str],
) -> list[dict[str, Any]]:
    now, arr = portfolio.now, portfolio.arr
    earlier = health.score(health.inputs(portfolio.earlier), portfolio.connected).accounts["score"]
    change = scores.accounts["score"] - earlier.where(portfolio.earlier.facts["active"])
    band = scores.accounts["band"]
    tier = tiers(arr, settings.tiers)
    stage = stages(now.features["tenure_days"], portfolio.leaving, now.features["goals_reached_share"], band)
    at_stake = ahead.arr_at_risk(arr.to_numpy(dtype=np.float64)) if ahead else None
    non_renewal = ahead.p_non_renewal() if ahead else None
    disagrees = _disagreement(band, ahead, portfolio.leaving)
    explained = _reasons(portfolio, scores, ahead, settings.language)
    records = []
    for row, account_id in enumerate(now.features["account_id"]):
        leaving = bool(portfolio.leaving.iloc[row])
        # Those whose notice stands are listed, not predicted.
        predicted = ahead if not leaving else None
        records.append(
            {
                "account_id": account_id,
                "name": str(who["name"].iloc[row]),
                "csm": _or_none(who["csm"].iloc[row]),
                "tier": tier[row],
                "stage": stage[row],
                "as_of": as_of.isoformat(),
                "health": _health(scores, change, row),
                "predictions": [p.record(row) for p in predicted.predictions] if predicted else None,
                "curve": predicted.curve(row) if predicted else None,
                "reasons": explained[row],
                "play": None,
                "arr": _or_none(arr.iloc[row]),
                "arr_at_risk": _or_none(at_stake[row]) if predicted and at_stake is not None else None,
                "renewal": {
                    "date": _date(now.facts["renewal_at"].iloc[row]),
                    "notice_by": _date(now.facts["notice_by"].iloc[row]),
                    "probability": _or_none(non_renewal[row]) if predicted and non_renewal is not None else None,
                },
                "contacts": people.get(account_id, []),
                "disagreement": bool(disagrees[row]),
                "leaving": leaving,
                "versions": versions,
            }
        )
    return records


def _reasons(
    portfolio: _Portfolio, scores: health.HealthScores, ahead: Outlook | None, language: Language
) -> list[dict[str, Any]]:
    """The model's reasons; the weakest health measures where the health score serves."""
    now = portfolio.now
    if ahead is None:
        explanation, outcome, horizon, declared = health_explanation(scores), "health", None, catalog()
    else:
        model = ahead.churn.model
        explanation, outcome, horizon = ahead.explanation, "churn", model.horizon_days
        declared = catalog(model.product_features)
    return reasons(
        explanation,
        declared,
        now.features,
        before=portfolio.before.features,
        peers=now.peers,
        outcome=outcome,
        horizon_days=horizon,
        language=language,
    )


def _choices(
    who: pd.DataFrame,
    portfolio: _Portfolio,
    scores: health.HealthScores,
    ahead: Outlook | None,
    records: list[dict[str, Any]],
    base_rate: float | None,
    settings: ScoringSettings,
) -> list[Choice]:
    playbooks = load()
    p_expansion = ahead.at("expansion") if ahead else None
    p_churn = ahead.p_churn if ahead else np.full(len(records), base_rate or 0.0)
    days_to_renewal = portfolio.now.features["days_to_renewal"]
    choices = []
    for row, record in enumerate(records):
        arr, expansion = record["arr"], None if p_expansion is None else float(p_expansion[row])
        facts = AccountFacts(
            record["account_id"],
            parent_account_id=_or_none(who["parent_account_id"].iloc[row]),
            band=_or_none(scores.accounts["band"].iloc[row]),
            stage=record["stage"],
            tier=record["tier"],
            leaving=record["leaving"],
            strategic=bool(who["strategic"].iloc[row]) or record["tier"] == "strategic",
            p_churn=1.0 if record["leaving"] else float(p_churn[row]),
            p_expansion=expansion,
            contributions={driver["driver"]: driver["contribution"] for driver in record["reasons"]["drivers"]},
            arr=arr,
            expected_added_arr=arr * ahead.mean_rise if ahead and arr is not None else None,
            days_to_renewal=_or_none(days_to_renewal.iloc[row]),
        )
        choices.append(choose(facts, playbooks, settings.plays, seed=settings.seed))
    return choices


def _health(scores: health.HealthScores, change: pd.Series, row: int) -> dict[str, Any]:
    account = scores.accounts.iloc[row]
    components = {
        name.removeprefix("component_"): _or_none(account[name])
        for name in scores.accounts.columns
        if name.startswith("component_")
    }
    return {
        "score": _or_none(account["score"]),
        "band": _or_none(account["band"]),
        "coverage": float(account["coverage"]),
        "provisional": bool(account["provisional"]),
        "components": components,
        "bound_by": _or_none(account["bound_by"]),
        "change_30d": _or_none(change.iloc[row]),
        "no_score": _or_none(account["no_score"]),
    }


def _play(choice: Choice, language: Language) -> dict[str, Any]:
    return {
        "name": choice.name,
        "why": getattr(choice.why, language),
        "expected_value": choice.expected_value,
        "beaten": {"name": choice.beaten.name, "value": choice.beaten.value} if choice.beaten else None,
        "assignment": choice.assignment.model_dump(),
    }


def _disagreement(band: pd.Series, ahead: Outlook | None, leaving: pd.Series) -> npt.NDArray[np.bool_]:
    """Healthy in the top risk decile, or Critical in the lower half, of the accounts that are predicted."""
    predicted = ~leaving.to_numpy(dtype=bool)
    if ahead is None or not predicted.any():
        return np.zeros(len(band), dtype=bool)
    p = ahead.p_churn
    top, middle = np.quantile(p[predicted], [0.9, 0.5])
    healthy, critical = (
        (band == "healthy").to_numpy(dtype=bool, na_value=False),
        (band == "critical").to_numpy(dtype=bool, na_value=False),
    )
    return predicted & ((healthy & (p >= top)) | (critical & (p < middle)))


def _urgency(record: Mapping[str, Any], choice: Choice) -> tuple[float, float, str]:
    """What is worth most to do comes first, then what is most at risk."""
    return -choice.expected_value, -(record["arr_at_risk"] or record["arr"] or 0.0), record["account_id"]


def _or_none(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _date(instant: Any) -> str | None:
    return None if pd.isna(instant) else instant.date().isoformat()
