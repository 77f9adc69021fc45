"""Support and feedback: tickets, surveys and what people wrote down."""

import numpy as np
import pandas as pd

from simulation.contracts import Contracts
from simulation.draws import happenings, late, until, weekly
from simulation.history import History
from simulation.relations import Contacts

_PRIORITIES = np.array(["low", "normal", "high", "urgent"], dtype=object)
_CATEGORIES = np.array(["question", "bug", "performance", "billing", "integration"], dtype=object)
_TEXTS = {
    "complaint": "Customer complained: support takes too long.",
    "feature_request": "Asked for a feature that we do not have.",
    "praise": "Praised the product unprompted.",
    "risk": "Something is off at this account.",
    "opportunity": "Seats nearly all in use; could need more.",
    "note": "Regular update.",
}


def satisfaction(history: History, rng: np.random.Generator) -> np.ndarray:
    """Return (accounts, weeks): how content the people are, around 0 with unit spread; the causes pull it down."""
    pulls = {
        "support_trouble": 2.0,
        "value_not_reached": 1.1,
        "price_increase": 1.3,
        "failed_onboarding": 0.9,
        "usage_decline": 0.5,
        "champion_left": 0.3,
        "silence": 0.3,
    }
    own = 0.6 * history.population.quality + rng.normal(0, 0.5, len(history.population))
    return own[:, None] - sum(pull * history.signals[name] for name, pull in pulls.items())


def tickets(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `tickets` table; some rows are recorded late, a few come in two versions (first as opened)."""
    clock = history.population.clock
    trouble = history.signals["support_trouble"]
    new = np.exp(-np.maximum(np.arange(clock.weeks)[None, :] * 7 - history.population.created[:, None], 0) / 60)
    rate = 0.09 * np.sqrt(contracts.users) * (1 + 1.5 * new + 8 * trouble)
    account, opened = happenings(history, rate, rng)
    order = np.argsort(opened, kind="stable")
    account, opened = account[order], opened[order]
    felt, size = weekly(trouble, account, opened), len(account)
    answered = opened + rng.lognormal(np.log(3 / 24), 0.9, size) * (1 + 2 * felt)
    resolved = answered + rng.lognormal(np.log(22 / 24), 1.0, size) * (1 + 5 * felt)
    reopened = np.where(rng.random(size) < 0.05 + 0.4 * felt, resolved - 0.3 * (resolved - answered), np.nan)
    escalated = np.where(rng.random(size) < 0.04 + 0.4 * felt, opened + 0.6 * (resolved - opened), np.nan)
    priority = np.digitize(rng.random(size) + 0.25 * felt, [0.25, 0.75, 0.95])
    limit = np.minimum(history.leave[account], clock.days)
    recorded = late(opened, 0.04, rng)
    frame = pd.DataFrame(
        {
            "ticket_id": [f"T{number:06d}" for number in range(1, size + 1)],
            "account_id": history.population.ids[account],
            "opened_at": clock.times(opened),
            "first_response_at": clock.times(until(answered, limit)),
            "resolved_at": clock.times(until(resolved, limit)),
            "reopened_at": clock.times(until(reopened, limit)),
            "escalated_at": clock.times(until(escalated, limit)),
            "priority": _PRIORITIES[priority],
            "category": rng.choice(_CATEGORIES, size, p=[0.4, 0.25, 0.12, 0.08, 0.15]),
            "sentiment": np.clip(rng.normal(0.2 - 0.95 * felt, 0.3, size), -1, 1).round(2),
            "recorded_at": clock.times(recorded),
        }
    )
    corrected = np.flatnonzero((rng.random(size) < 0.03) & (recorded + 2 < limit))
    first = frame.iloc[corrected].assign(category="question")
    first[["first_response_at", "resolved_at", "reopened_at", "escalated_at"]] = np.datetime64("NaT", "us")
    again = recorded[corrected] + np.minimum(rng.uniform(0.5, 20, len(corrected)), limit[corrected] - recorded[corrected] - 1)
    frame.loc[corrected, "recorded_at"] = clock.times(again)
    return pd.concat([frame[recorded < clock.days], first], ignore_index=True)


def surveys(history: History, contacts: Contacts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `surveys` table: quarterly NPS, CSAT about support and onboarding, CES; the discontented answer less."""
    population, clock = history.population, history.population.clock
    mood = satisfaction(history, rng)
    kinds = (("nps", 0.07, "product"), ("csat", 0.03, "ticket"), ("csat", 0.015, "CSM"), ("ces", 0.015, "product"))
    parts = []
    for kind, rate, about in kinds:
        account, sent = happenings(history, np.full(mood.shape, rate), rng)
        feels = weekly(mood, account, sent) + rng.normal(0, 0.7, len(account))
        silent = weekly(history.signals["silence"], account, sent)
        willing = 0.30 / (1 + np.exp(-1.1 * (feels + 0.4))) + 0.08 * (feels > 1.2) + 0.12
        willing = willing * (1.0 if kind == "nps" else 0.7)
        answers = rng.random(len(account)) < willing * (1 - 0.8 * silent)
        replied = sent + rng.lognormal(np.log(0.8), 0.9, len(account))
        replied = until(np.where(answers, replied, np.nan), np.minimum(history.leave[account], clock.days))
        score = {
            "nps": np.clip(np.rint(7.7 + 1.7 * feels), 0, 10),
            "csat": np.clip(np.rint(4.0 + 0.75 * feels), 1, 5),
            "ces": np.clip(np.rint(5.3 + 1.0 * feels), 1, 7),
        }[kind]
        part = pd.DataFrame({"account": account, "kind": kind, "sent": sent, "replied": replied, "about": about})
        part["score"] = np.where(np.isfinite(replied), score, np.nan)
        part["scale_max"] = {"nps": 10, "csat": 5, "ces": 7}[kind]
        part["role"] = rng.choice(["user", "admin", "champion", "decision_maker"], len(part), p=[0.4, 0.2, 0.25, 0.15])
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True).sort_values("sent", kind="stable")
    return pd.DataFrame(
        {
            "account_id": population.ids[rows["account"].to_numpy()],
            "kind": rows["kind"].to_numpy(),
            "sent_at": clock.times(rows["sent"]),
            "responded_at": clock.times(rows["replied"]),
            "score": rows["score"].to_numpy(),
            "contact_id": contacts.at(rows["account"].to_numpy(), rows["role"].to_numpy(), rows["sent"].to_numpy()),
            "scale_max": rows["scale_max"].to_numpy(),
            "about": rows["about"].to_numpy(),
        }
    )


def observations(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `observations` table: complaints, wishes, praise, risks and chances that the CSM wrote down."""
    population, signals = history.population, history.signals
    mood = satisfaction(history, rng)
    full = contracts.users / contracts.seats > 0.8
    worry = np.maximum.reduce([signals[name] for name in ("usage_decline", "support_trouble", "champion_left")])
    rates = {
        "complaint": 0.004 + 0.06 * signals["support_trouble"] + 0.15 * signals["price_increase"],
        "feature_request": 0.014 + 0.02 * signals["value_not_reached"],
        "praise": 0.008 * np.exp(0.8 * mood),
        "risk": 0.002 + 0.03 * worry,
        "opportunity": 0.002 + 0.008 * full + 0.02 * history.growing,
        "note": np.full(mood.shape, 0.02),
    }
    parts = []
    for kind, rate in rates.items():
        account, day = happenings(history, rate, rng)
        parts.append(pd.DataFrame({"account": account, "kind": kind, "day": day, "text": _TEXTS[kind]}))
    rows = pd.concat(parts, ignore_index=True).sort_values("day", kind="stable")
    return pd.DataFrame(
        {
            "account_id": population.ids[rows["account"].to_numpy()],
            "kind": rows["kind"].to_numpy(),
            "occurred_at": population.clock.times(rows["day"]),
            "author": population.csm[rows["account"].to_numpy()],
            "text": rows["text"].to_numpy(),
        }
    )
