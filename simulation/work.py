"""Work and money around an account: projects, offers, earlier plays, invoices and costs."""

import numpy as np
import pandas as pd

from simulation.causes import History
from simulation.contracts import Contracts
from simulation.draws import happenings, until
from simulation.world import CAUSE_INDEX, CAUSES, CURRENCY, HOURLY_COST, SIZES

#: The play that the team starts when it sees the cause at work.
_PLAY = {
    "usage_decline": "usage_fell",
    "champion_left": "champion_left",
    "support_trouble": "support_friction",
    "price_increase": "churn_risk",
    "value_not_reached": "value_not_proven",
    "silence": "no_answers",
    "decision_maker_not_met": "decision_maker_never_met",
    "failed_onboarding": "stalled_onboarding",
    "payment_trouble": "payment_trouble",
}


def projects(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `projects` table: everyone's onboarding (a failed one stays open) and some later roll-outs."""
    population, clock = history.population, history.population.clock
    count = len(population)
    failed = history.episodes[history.episodes["cause"] == CAUSE_INDEX["failed_onboarding"]].set_index("account")
    started = population.created + rng.uniform(0.4, 5, count)
    due = started + np.array([30, 45, 60])[population.size]
    finished = due + rng.normal(-6, 9, count)
    late = due + rng.uniform(40, 120, count)
    finished[failed.index] = np.where(failed["leaves"], np.inf, np.maximum(late[failed.index], failed["decide"]))
    onboarding = pd.DataFrame({"account": np.arange(count), "kind": "onboarding", "started": started, "due": due})
    onboarding["finished"] = np.maximum(finished, started + 5)
    account, day = happenings(history, np.full((count, clock.weeks), 0.004), rng)
    later = pd.DataFrame({"account": account, "kind": rng.choice(["rollout", "integration"], len(account))})
    later["started"], later["due"] = day, day + rng.integers(30, 91, len(account))
    later["finished"] = later["due"] + rng.normal(0, 15, len(account))
    rows = pd.concat([onboarding, later]).sort_values("started", kind="stable")
    account = rows["account"].to_numpy()
    rows = rows[rows["started"] < history.end[account]]
    account = rows["account"].to_numpy()
    return pd.DataFrame(
        {
            "account_id": population.ids[account],
            "project_id": [f"P{number:05d}" for number in range(1, len(rows) + 1)],
            "kind": rows["kind"].to_numpy(),
            "started_at": clock.times(rows["started"]),
            "due_at": clock.times(rows["due"]),
            "finished_at": clock.times(until(rows["finished"].to_numpy(), history.end[account])),
        }
    )


def offers(history: History, contracts: Contracts) -> pd.DataFrame:
    """Return the `offers` table; an offer not yet decided is open."""
    clock, rows = history.population.clock, contracts.offers.sort_values("offered", kind="stable")
    rows = rows.drop_duplicates(["account", "product", "offered"])
    decided = np.where(rows["won"], "won", "lost")
    return pd.DataFrame(
        {
            "account_id": history.population.ids[rows["account"].to_numpy()],
            "product": rows["product"].to_numpy(),
            "offered_at": clock.times(rows["offered"]),
            "decided_at": clock.times(rows["decided"]),
            "status": np.where(rows["decided"].notna(), decided, "open"),
        }
    )


def plays(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `plays` table: what the team did where a cause was at work, and where it only seemed so."""
    population, clock = history.population, history.population.clock
    books = np.array([_PLAY[cause.name] for cause in CAUSES], dtype=object)
    helped = history.episodes[history.episodes["play"].notna()]
    account, day = happenings(history, np.full((len(population), clock.weeks), 0.002), rng)
    rows = pd.DataFrame(
        {
            "account": np.concatenate([helped["account"], account]),
            "playbook": np.concatenate([books[helped["cause"].to_numpy()], rng.choice(books[:7], len(account))]),
            "started": np.concatenate([np.floor(helped["play"]) + 0.4, day]),
        }
    ).sort_values("started", kind="stable")
    account = rows["account"].to_numpy()
    rows = rows[(rows["started"] >= history.begin[account]) & (rows["started"] < history.end[account])]
    ended = rows["started"] + rng.uniform(10, 45, len(rows))
    return pd.DataFrame(
        {
            "account_id": population.ids[rows["account"].to_numpy()],
            "playbook": rows["playbook"].to_numpy(),
            "started_at": clock.times(rows["started"]),
            "play_id": [f"L{number:05d}" for number in range(1, len(rows) + 1)],
            "ended_at": clock.times(until(ended.to_numpy(), history.end[rows["account"].to_numpy()])),
            "assignment": "treated",
        }
    )


def invoices(history: History, subscriptions: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `invoices` table: each month the MRR that runs then; late or unpaid in payment trouble."""
    population, clock = history.population, history.population.clock
    months = population.boundaries(np.ones(len(population), dtype=int))
    account = months["account"].to_numpy()
    rows = months[(months["day"] >= 0) & (months["day"] < history.end[account])].sort_values("day", kind="stable")
    account, issued = rows["account"].to_numpy(), rows["day"].to_numpy() + 0.25
    due = issued + np.where(population.size[account] == len(SIZES) - 1, 30, 14)
    slow = rng.gamma(1.2, 4.0, len(population))
    paid = np.maximum(due + rng.normal(-5, 4, len(rows)) + slow[account] * (rng.random(len(rows)) < 0.4), issued + 0.5)
    trouble = history.episodes[history.episodes["cause"] == CAUSE_INDEX["payment_trouble"]]
    for who, start, decide, leaves in trouble[["account", "start", "decide", "leaves"]].to_numpy(dtype=float):
        hit = (account == who) & (due >= start) & (issued < decide)
        paid[hit] = np.inf if leaves else np.maximum(due[hit] + 20, decide) + 1
    running = pd.DataFrame({"account_id": population.ids[account], "issued_at": clock.times(issued)})
    return pd.DataFrame(
        {
            "invoice_id": [f"I{number:06d}" for number in range(1, len(rows) + 1)],
            "account_id": running["account_id"],
            "amount": _mrr_at(running, subscriptions),
            "issued_at": running["issued_at"],
            "due_at": clock.times(due),
            "currency": CURRENCY,
            "paid_at": clock.times(until(paid, clock.days)),
        }
    )


def _mrr_at(asked: pd.DataFrame, subscriptions: pd.DataFrame) -> np.ndarray:
    """Return the MRR of the rows that run at each (account_id, issued_at), from the contract rows themselves."""
    joined = asked.reset_index(names="row").merge(subscriptions, on="account_id")
    runs = (joined["started_at"] < joined["issued_at"]) & ~(joined["ended_at"] < joined["issued_at"])
    total = joined[runs].groupby("row")["mrr"].sum()
    return total.reindex(range(len(asked)), fill_value=0.0).round(2).to_numpy()


def costs(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `costs` table: winning each new account, and each month's hours of service."""
    population, clock = history.population, history.population.clock
    new = np.flatnonzero((population.created >= 0) & (population.created < clock.days))
    won = pd.DataFrame({"account": new, "kind": "acquisition", "day": population.created[new].astype(float)})
    won["amount"] = np.round(rng.lognormal(np.log(np.array([700, 4_000, 22_000])[population.size[new]]), 0.4), 2)
    month = np.arange(clock.months)
    day = np.minimum(month * 30 + 29, clock.days - 1) + 0.7
    account, step = np.nonzero((day >= history.begin[:, None]) & (day < history.end[:, None]))
    hours = np.array([0.5, 2.0, 8.0])[population.size[account]] * rng.gamma(4, 0.25, len(account))
    service = pd.DataFrame({"account": account, "kind": "service", "day": day[step], "hours": np.round(hours, 1)})
    service["amount"] = np.round(service["hours"] * HOURLY_COST, 2)
    rows = pd.concat([won, service]).sort_values(["day", "account"], kind="stable")
    return pd.DataFrame(
        {
            "kind": rows["kind"].to_numpy(),
            "amount": rows["amount"].to_numpy(),
            "incurred_at": clock.times(rows["day"]),
            "account_id": population.ids[rows["account"].to_numpy()],
            "hours": rows["hours"].to_numpy(),
        }
    )
