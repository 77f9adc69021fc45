"""From features to scored accounts: one rule for a portfolio and for a row that a request brings (interface.md)."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from features.catalogue import catalog
from models import health
from models.choice import AccountFacts, Choice, PlaySettings, choose
from models.explain import health_explanation, reasons
from models.matrix import FloatArray, Matrix, known_values_of
from models.outcome import Explanation
from models.playbooks import load
from models.segments import TierSettings, stages, tiers
from models.sentences import Language
from serving.champions import Champions
from serving.outlook import NO_STAKES, Instants, Outlook, days_to, or_none, outlook

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoringSettings:
    """What a company sets about scoring; `notice_is_leaving` is False where churn is read from revenue alone (domain.md §2)."""

    language: Language = "en"
    tiers: TierSettings = field(default_factory=TierSettings)
    plays: PlaySettings = field(default_factory=PlaySettings)
    notice_is_leaving: bool = True
    seed: int = 0


@dataclass(frozen=True)
class RiskMarks:
    """P(churn) in the middle of a portfolio, and where its top decile begins."""

    middle: float
    top: float

    @classmethod
    def of(cls, p_churn: Iterable[float | None]) -> "RiskMarks | None":
        """The marks of a portfolio's predicted accounts; None where none is predicted.

        >>> RiskMarks.of([0.1, 0.2, None, 0.3])
        RiskMarks(middle=0.2, top=0.28)
        """
        known = [p for p in p_churn if p is not None]
        if not known:
            return None
        top, middle = np.quantile(known, [0.9, 0.5]).tolist()
        return cls(middle, top)


@dataclass(frozen=True)
class Accounts:
    """Accounts to be scored at one instant, everything in one order.

    `leaving` is whether notice stands and counts. `arr` is NaN, and an instant NaT, where it is not known. `before` and `peers`
    are the features of 90 days earlier and of the peers, `health_before` the scores 30 days earlier; None: not known of any.
    """

    as_of: datetime
    ids: Sequence[str | None]
    features: Matrix
    connected: Set[str] | health.Connected
    leaving: BoolArray
    arr: FloatArray
    renewal_at: Instants
    notice_by: Instants
    names: Sequence[str | None]
    csms: Sequence[str | None]
    parents: Sequence[str | None]
    strategic: Sequence[bool]
    before: Matrix | None = None
    peers: Matrix | None = None
    health_before: Sequence[int | None] | None = None
    contacts: Mapping[str, list[dict[str, str]]] = field(default_factory=dict)

    def column(self, feature: str) -> FloatArray:
        """One feature (accounts,), NaN where it is not known."""
        return known_values_of(self.features, (feature,))[:, 0]


@dataclass(frozen=True)
class Assessment:
    """Scored accounts in the order given, each beside the choice of its play, and what their reasons were taken from."""

    records: list[dict[str, Any]]
    choices: list[Choice]
    explanation: Explanation


def product_features(champions: Champions) -> tuple[str, ...]:
    """The product's own features that the models read, those of churn first."""
    models = [champion.model for champion in champions.models.values()]
    models.sort(key=lambda model: model is not (champions.churn and champions.churn.model))
    return tuple(dict.fromkeys(name for model in models for name in model.product_features))


def assess(
    accounts: Accounts,
    champions: Champions,
    settings: ScoringSettings,
    *,
    versions: Mapping[str, str | None],
    marks: RiskMarks | None,
    whole: bool = False,
) -> Assessment:
    """Score at least one account: health, predictions, curve, reasons and play.

    `marks` tell the `disagreement`; the accounts' own do where they are the `whole` portfolio.
    """
    scores = health.score(health.inputs_of(accounts.features, accounts.leaving), accounts.connected)
    ahead = outlook(champions, accounts.features, days_to(accounts.renewal_at, np.datetime64(accounts.as_of, "us")))
    explanation = health_explanation(scores) if ahead is None else ahead.explanation
    explained = _reasons(accounts, explanation, ahead, settings.language)
    if whole:
        marks = RiskMarks.of(ahead.p_churn[~accounts.leaving].tolist()) if ahead else None
    disagrees = _disagreement(scores, ahead, accounts.leaving, marks)
    records = _records(accounts, scores, ahead, explained, disagrees, settings, versions)
    choices = _choices(accounts, ahead, records, champions.churn_base_rate, settings)
    for record, choice in zip(records, choices, strict=True):
        record["play"] = _play(choice, settings.language)
    return Assessment(records, choices, explanation)


def _records(
    accounts: Accounts,
    scores: health.HealthScores,
    ahead: Outlook | None,
    explained: list[dict[str, Any]],
    disagrees: list[bool],
    settings: ScoringSettings,
    versions: Mapping[str, str | None],
) -> list[dict[str, Any]]:
    """The records, but for the play, which is chosen by what they hold."""
    tier = tiers(accounts.arr, settings.tiers).tolist()
    goals, tenure = accounts.column("goals_reached_share"), accounts.column("tenure_days")
    stage = stages(tenure, accounts.leaving, goals, scores.band).tolist()
    arr, as_of = or_none(accounts.arr), accounts.as_of.isoformat()
    stakes = ahead.stakes(accounts.arr, settings.plays) if ahead else []
    renewals, notices = _dates(accounts.renewal_at), _dates(accounts.notice_by)
    predictions = ahead.records() if ahead else []
    measured = _health(scores, accounts.health_before)
    records: list[dict[str, Any]] = []
    for row, account_id in enumerate(accounts.ids):
        leaving = bool(accounts.leaving[row])
        # Those whose notice stands are listed, not predicted.
        predicted = ahead if not leaving else None
        at_stake = stakes[row] if predicted else NO_STAKES
        records.append(
            {
                "account_id": account_id,
                "name": accounts.names[row],
                "csm": accounts.csms[row],
                "tier": tier[row],
                "stage": stage[row],
                "as_of": as_of,
                "health": measured[row],
                "predictions": predictions[row] if predicted else None,
                "curve": predicted.curve(row) if predicted else None,
                "reasons": explained[row],
                "play": None,
                "arr": arr[row],
                "arr_at_risk": at_stake["arr_at_risk"],
                "expected_lifetime_value": at_stake["expected_lifetime_value"],
                "renewal": {"date": renewals[row], "notice_by": notices[row], **at_stake["renewal"]},
                "contacts": accounts.contacts.get(account_id, []) if account_id is not None else [],
                "disagreement": disagrees[row],
                "leaving": leaving,
                "versions": dict(versions),
            }
        )
    return records


def _reasons(accounts: Accounts, explanation: Explanation, ahead: Outlook | None, language: Language) -> list[dict[str, Any]]:
    """The model's reasons; the weakest health measures where the health score serves."""
    model = ahead.churn.model if ahead else None
    return reasons(
        explanation,
        catalog(model.product_features if model else ()),
        accounts.features,
        before=accounts.before,
        peers=accounts.peers,
        outcome="churn" if model else "health",
        horizon_days=model.horizon_days if model else None,
        language=language,
    )


def _choices(
    accounts: Accounts,
    ahead: Outlook | None,
    records: list[dict[str, Any]],
    base_rate: float | None,
    settings: ScoringSettings,
) -> list[Choice]:
    playbooks = load()
    p_churn = ahead.p_churn.tolist() if ahead else [base_rate or 0.0] * len(records)
    p_expansion = ahead.at("expansion").tolist() if ahead else [None] * len(records)
    days_to_renewal = or_none(accounts.column("days_to_renewal"))
    choices = []
    for row, record in enumerate(records):
        arr, leaving = record["arr"], record["leaving"]
        facts = AccountFacts(
            record["account_id"],
            parent_account_id=accounts.parents[row],
            band=record["health"]["band"],
            stage=record["stage"],
            tier=record["tier"],
            leaving=leaving,
            strategic=accounts.strategic[row] or record["tier"] == "strategic",
            p_churn=1.0 if leaving else p_churn[row],
            p_expansion=p_expansion[row],
            contributions={driver["driver"]: driver["contribution"] for driver in record["reasons"]["drivers"]},
            arr=arr,
            expected_added_arr=arr * ahead.mean_rise if ahead and arr is not None else None,
            days_to_renewal=days_to_renewal[row],
        )
        choices.append(choose(facts, playbooks, settings.plays, seed=settings.seed))
    return choices


def _health(scores: health.HealthScores, before: Sequence[int | None] | None) -> list[dict[str, Any]]:
    totals = scores.totals
    columns = zip(
        totals.scored.tolist(),
        totals.score.tolist(),
        scores.band.tolist(),
        totals.coverage.tolist(),
        totals.provisional.tolist(),
        scores.parts.tolist(),
        totals.bound_by.tolist(),
        scores.no_score.tolist(),
        before or [None] * len(totals.score),
        strict=True,
    )
    found = []
    for scored, score, band, coverage, provisional, parts, bound_by, no_score, earlier in columns:
        components = {name: None if points != points else points for name, points in zip(scores.names, parts, strict=True)}
        found.append(
            {
                "score": score if scored else None,
                "band": band,
                "coverage": coverage,
                "provisional": provisional,
                "components": components,
                "bound_by": bound_by,
                "change_30d": score - earlier if scored and earlier is not None else None,
                "no_score": no_score,
            }
        )
    return found


def _play(choice: Choice, language: Language) -> dict[str, Any]:
    return {
        "name": choice.name,
        "why": getattr(choice.why, language),
        "expected_value": choice.expected_value,
        "beaten": {"name": choice.beaten.name, "value": choice.beaten.value} if choice.beaten else None,
        "assignment": choice.assignment.model_dump(),
    }


def _disagreement(scores: health.HealthScores, ahead: Outlook | None, leaving: BoolArray, marks: RiskMarks | None) -> list[bool]:
    """Healthy in the top risk decile, or Critical in the lower half, of the accounts that are predicted."""
    if ahead is None or marks is None:
        return [False] * len(leaving)
    high, low = ahead.p_churn >= marks.top, ahead.p_churn < marks.middle
    disagrees: BoolArray = ~leaving & (((scores.band == "healthy") & high) | ((scores.band == "critical") & low))
    return disagrees.tolist()


def _dates(instants: Instants) -> list[str | None]:
    """Each instant's day; None where there is none."""
    days = np.datetime_as_string(instants.astype("datetime64[D]")).tolist()
    return [None if day == "NaT" else day for day in days]
