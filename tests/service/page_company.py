"""A dozen scored accounts made by hand, one for each thing that a page must be able to show."""

from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from features.catalogue import catalog
from models import health
from serving.store import Decision, Identity, Store
from serving.store.contacts import Contact

AS_OF = datetime(2026, 7, 1)
SCRIPT = "<script>document.title='owned'</script>\"'&amp;"
SCRIPT_ID = 'x/"><img src=x onerror=alert(1)>'
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
EXPECTED = {"probability": 0.35, "expected_arr": 31_415.0, "expected_arr_low": 27_182.0, "expected_arr_high": 35_500.0}
NOT_EXPECTED = {"date": "2026-09-30", "notice_by": "2026-08-31", **dict.fromkeys(EXPECTED)}
#: A feature that no catalogue declares (any more).
GONE = "use_of_teleport_90d"
LEAVING = [f"gone{k}" for k in range(7)]
EVERYBODY = ("acme", "long", SCRIPT_ID, "grows", "few", "none", "odd", "suomi", "past", "idle", *LEAVING)


def account(account_id: str, **changed: Any) -> dict[str, Any]:
    """A scored account of interface shape."""
    leaving = bool(changed.get("leaving"))
    predictions = [
        _prediction("churn", 30, 0.09, 0.05),
        _prediction("churn", 90, 0.31, 0.06),
        _prediction("churn", 180, 0.42, None),
        _prediction("expansion", 90, 0.25, 0.1),
    ]
    drivers = [
        _driver("usage_decline", 0.9, "active_days_30d", 4.0, 15.0, 12.0),
        _driver("price_pressure", 0.4, "events_per_mrr_30d_vs_peers", -0.5, -0.2, None),
        _driver("growth", -0.3, "mrr_change_365d", 0.2, 0.1, 0.0),
    ]
    given = {
        "account_id": account_id,
        "name": f"{account_id.title()} Oy",
        "csm": "Aino",
        "tier": "key",
        "stage": "adoption",
        "as_of": AS_OF.isoformat(),
        "health": scored_health(41, -12),
        "predictions": None if leaving else predictions,
        "curve": None if leaving else [{"days": 30 * k, "survival": 1 - 0.04 * k} for k in range(1, 13)],
        "reasons": {
            "outcome": "churn",
            "horizon_days": 90,
            "base_value": -3.0,
            "raw_score": -1.9,
            "drivers": drivers,
            "other": 0.1,
        },
        "play": _play("rescue_plan", 1234.0),
        "arr": 48_000.0,
        "arr_at_risk": None if leaving else 12_345.0,
        "expected_lifetime_value": None if leaving else 87_654.0,
        "renewal": {"date": "2026-09-30", "notice_by": "2026-08-31", **EXPECTED} if not leaving else NOT_EXPECTED,
        "disagreement": False,
        "leaving": leaving,
        "versions": {"model": "churn/3", "config": "9f2c", "data": "77ab"},
    }
    return given | changed


def scored_health(score: int | None, change: int | None = None, **changed: Any) -> dict[str, Any]:
    """A health score; the band follows from it."""
    band = None if score is None else next(name for name, lowest in health.BANDS if score >= lowest)
    components = {"usage": 30.0, "engagement": 55.5, "support": None, "business": 80.0, "feedback": 12.0}
    given = {"score": score, "band": band, "coverage": 0.8, "provisional": False, "components": components}
    return given | {"bound_by": None, "change_30d": change, "no_score": None} | changed


def _prediction(outcome: str, days: int, p: float, base: float | None) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "horizon_days": days,
        "probability": p,
        "low": round(p * 0.7, 4),
        "high": round(p * 1.4, 4),
        "base_rate": base,
    }


def _driver(driver: str, contribution: float, feature: str, *figures: float | None) -> dict[str, Any]:
    value, before, peers = figures
    direction = "raises" if contribution > 0 else "lowers"
    named = {"driver": driver, "direction": direction, "contribution": contribution, "feature": feature}
    return named | {"value": value, "before": before, "peers": peers}


def _play(name: str, value: float, arm: str = "treated") -> dict[str, Any]:
    beaten = {"name": "reach_out_call", "value": value / 2}
    return {"name": name, "expected_value": value, "beaten": beaten, "assignment": {"arm": arm, "probability": 0.8, "seed": 7}}


def accounts() -> list[dict[str, Any]]:
    """The accounts of the last run."""
    odd_drivers = [_driver("low_adoption", 0.7, GONE, 1.0, None, None)]
    few = scored_health(66, 3, band=None, coverage=0.3, provisional=True)
    none = scored_health(None, components={}, coverage=0.0, provisional=True, no_score="nothing_measured")
    no_date = {"date": None, "notice_by": None, "probability": None}
    urgent = {"date": "2026-08-10", "notice_by": "2026-07-10", **EXPECTED}
    return [
        account("acme", name="Acme Oy", health=measured_health(), renewal=urgent, play=_play("rescue_plan", 9000.0)),
        account("long", name=LONG, csm="Bartholomäus Hohenstein-Langenburg", tier="strategic"),
        account(SCRIPT_ID, name=SCRIPT, csm="<b>Eve</b>"),
        account("grows", name="Grows Ab", health=scored_health(88, 0), play=_play("more_users", 800.0, "held_out")),
        account("few", health=few, csm=None, tier="developing"),
        account("none", health=none, renewal=no_date),
        account("odd", disagreement=True, health=scored_health(84), reasons=account("odd")["reasons"] | {"drivers": odd_drivers}),
        account("suomi", name="Åkerö Öljy Oy", csm="Bertta"),
        account("past", renewal={"date": "2026-07-20", "notice_by": "2026-06-20", "probability": 0.1}),
        account("idle", play={"name": "nothing", "expected_value": 0.0, "beaten": None, "assignment": None}),
        *(account(each, leaving=True, stage="leaving", health=scored_health(19, 0, bound_by="notice_given")) for each in LEAVING),
    ]


def without_money() -> list[dict[str, Any]]:
    """A company without prices in which no model serves."""
    drivers = [
        _driver("low_adoption", 20.0, "active_days_30d", 4.0, 15.0, None),
        _driver("silence", 12.5, "meetings_90d", 0.0, 2.0, None),
    ]
    reasons = {"outcome": "health", "horizon_days": None, "base_value": 0.0, "raw_score": 40.0, "drivers": drivers, "other": 7.5}
    renewal = {"date": None, "notice_by": None, "probability": None}
    money = dict.fromkeys(("arr", "arr_at_risk", "expected_lifetime_value"))
    nothing = {"predictions": None, "curve": None, "tier": None, "renewal": renewal, **money}
    return [account(each, reasons=reasons, play=_play("low_adoption", 0.12), **nothing) for each in ("plain", "simple")]


def write(store: Store, records: list[dict[str, Any]], as_of: datetime = AS_OF, *, inputs: bool = False) -> str:
    """Do one whole run, with a choice for each account, and return its id."""
    rows = [record | {"as_of": as_of.isoformat()} for record in records]
    store.save_accounts(Identity(row["account_id"], row["name"], row["csm"]) for row in rows)
    run = store.begin_run("score", as_of, {"model": "churn/3"})
    store.append_scores(run.run_id, rows)
    store.append_decisions(run.run_id, (_decision(row, as_of) for row in rows))
    if inputs:
        features = pd.DataFrame([FEATURES], dtype="float64").assign(account_id="acme", as_of=pd.Timestamp(as_of))
        store.inputs.append(run.run_id, features, pd.DataFrame([{"account_id": "acme", "as_of": as_of, "leaving": False}]))
    store.finish_run(run.run_id)
    return run.run_id


def _decision(row: dict[str, Any], as_of: datetime) -> Decision:
    play = row["play"]["name"]
    names = ("nothing", "reach_out_call") if play == "nothing" else (play, "reach_out_call", "nothing")
    best = row["play"]["expected_value"]
    values = (0.0, -45.0) if play == "nothing" else (best, best / 2, 0.0)
    candidates = [{"name": name, "value": value, "relative_effect": 0.1} for name, value in zip(names, values, strict=True)]
    arm = (row["play"]["assignment"] or {}).get("arm")
    chance = (None, None, None) if arm is None else (arm, 0.8, 7)
    return Decision(row["account_id"], as_of, as_of, None if play == "nothing" else play, candidates, *chance, known={})


#: What the health score of `acme` was computed from.
FEATURES: dict[str, float] = dict.fromkeys(catalog(), 0.0) | {
    "seat_use_30d": 0.3,
    "active_days_30d": 6.0,
    "features_used_30d": 4.0,
    "tenure_days": 400.0,
    "outreach_answered_share_90d": 0.8,
    "goals_reached_share": 0.2,
}


def measured_health() -> dict[str, Any]:
    """The health score that FEATURES give."""
    tables = {feature.source for feature in catalog().values()}
    frame = pd.DataFrame([FEATURES]).assign(notice_given=0.0, days_since_active_user=FEATURES["days_since_last_use"])
    found = health.score(frame.assign(account_age_days=400.0), tables).accounts.iloc[0]
    components = {part.name: float(found[f"component_{part.name}"]) for part in health.default_scorecard().components}
    return scored_health(int(found["score"]), -12, components=components, coverage=float(found["coverage"]))


def company(store: Store) -> Store:
    """The company, with three earlier runs and whom to call."""
    for months, score in ((3, 71), (2, 66), (1, 53)):
        earlier = account("acme", name="Acme Oy", health=scored_health(score, -5))
        write(store, [earlier], AS_OF - timedelta(days=30 * months))
    write(store, accounts(), inputs=True)
    people = {
        "acme": [
            Contact(contact_id="liisa.virtanen@acme.example", role="decision_maker"),
            Contact(contact_id="C-77", role="champion"),
        ],
        "long": [Contact(contact_id=f"{'x' * 70}@{'y' * 40}.example", role="executive")],
        SCRIPT_ID: [Contact(contact_id='<img src=x onerror="alert(2)">', role="admin")],
    }
    store.contacts.replace(people)
    return store


def first_day() -> date:
    """The day of the earliest score."""
    return (AS_OF - timedelta(days=90)).date()
