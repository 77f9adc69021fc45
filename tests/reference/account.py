"""Every feature and fact of every account at one T, from tables as the builder takes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from reference import money, relations, subscriptions, support, usage, voice, work
from reference.arithmetic import Found
from reference.known import Known, Rows, known
from reference.rates import in_reporting_currency

#: The columns without which a feature is missing, where the definition has no value for a row that lacks them.
NEEDS = {
    "subscriptions": subscriptions.NEEDS,
    "usage": usage.NEEDS,
    "tickets": support.NEEDS,
    "observations": {},
    "surveys": voice.NEEDS,
    "outcomes": {},
    "touchpoints": relations.NEEDS,
    "contacts": relations.NEEDS,
    "invoices": money.NEEDS,
    "offers": money.NEEDS,
    "costs": money.NEEDS,
    "projects": work.NEEDS,
    "plays": work.NEEDS,
}


@dataclass(frozen=True)
class Expected:
    """What one account's row must say: features, and facts, with instants as days ahead of T."""

    features: Found
    facts: dict[str, float | str | None]


def expected(
    tables: Mapping[str, pd.DataFrame], accounts: Sequence[str], at: datetime, product_features: Sequence[str] = ()
) -> dict[str, Expected]:
    """Return what is expected of each account at `at`; peers apart, which need all of them."""
    seen = known(tables, at)
    foreign = set(tables["fx"]["currency"]) if "fx" in tables else set()
    for source, amount in (("subscriptions", "mrr"), ("invoices", "amount")):
        rows = seen.tables[source]
        rows["money"] = in_reporting_currency(rows[amount], rows["currency"], seen.tables["fx"], foreign)
    own = seen.of_accounts()
    nothing = seen.nothing()
    return {account: _of_account(seen, own.get(account, nothing), product_features) for account in accounts}


def _of_account(seen: Known, rows: dict[str, Rows], product_features: Sequence[str]) -> Expected:
    contract = _held(seen, "subscriptions", subscriptions.features(rows["subscriptions"]))
    tenure, mrr = contract["tenure_days"], contract["mrr"]
    use = usage.features(rows["usage"], seen.columns.get("usage", frozenset()), contract, product_features)
    use = _held(seen, "usage", use)
    roles = relations.role_of_each(rows["contacts"])
    touches = relations.touchpoints(rows["touchpoints"], roles, tenure)
    if "role" not in seen.columns.get("contacts", ()) or "contact_id" not in seen.columns.get("touchpoints", ()):
        touches |= dict.fromkeys(relations.OF_ROLES, math.nan)
    features = contract | use | _held(seen, "touchpoints", touches)
    for source, found in {
        "tickets": support.tickets(rows["tickets"], tenure, use["active_users_90d"]),
        "observations": support.observations(rows["observations"]),
        "surveys": voice.surveys(rows["surveys"]),
        "outcomes": voice.outcomes(rows["outcomes"]),
        "contacts": relations.contacts(rows["contacts"]),
        "invoices": money.invoices(rows["invoices"], mrr),
        "offers": money.offers(rows["offers"]),
        "costs": money.costs(rows["costs"], mrr),
        "projects": work.projects(rows["projects"]),
        "plays": work.plays(rows["plays"]),
    }.items():
        features |= _held(seen, source, found)
    facts = subscriptions.facts(rows["subscriptions"], priced="mrr" in seen.columns["subscriptions"])
    names = {"mrr": "mrr", "seats": "seats", "renewal_at": "days_to_renewal", "notice_by": "days_to_notice_deadline"}
    return Expected(features, facts | {fact: features[name] for fact, name in names.items()})


def _held(seen: Known, source: str, found: Found) -> Found:
    """Leave out what needs a table or a column that the source lacks."""
    has = seen.columns.get(source)
    needs = NEEDS[source]
    return {name: value if has is not None and has.issuperset(needs.get(name, ())) else math.nan for name, value in found.items()}
