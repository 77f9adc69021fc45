"""Work and money around an account: projects, offers, earlier plays, invoices and costs."""

import numpy as np
import pandas as pd

from simulation.contracts import Contracts
from simulation.draws import happenings, until
from simulation.history import History
from simulation.population import STEP_DAYS, Clock
from simulation.world import CAUSES, CURRENCY, FX_LEVELS, HOURLY_COST, PLAY_FOR, PLAY_HELD_OUT, SIZES


def projects(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `projects` table: everyone's onboarding (a failed one stays open) and some later roll-outs."""
    population, clock = history.population, history.population.clock
    count = len(population)
    started = population.created + rng.uniform(0.4, 5, count)
    due = started + np.array([30, 45, 60])[population.size]
    finished = due + rng.normal(-6, 9, count)
    failed = history.of("failed_onboarding").drop_duplicates("account", keep="last")
    passed = np.where(failed["leaves"], np.inf, failed["end"].fillna(np.inf)) + rng.uniform(3, 30, len(failed))
    finished[failed["account"]] = np.maximum(finished[failed["account"]], passed)
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
    clock, rows = history.population.clock, history.offers.assign(product=contracts.products)
    rows = rows.sort_values("offered", kind="stable")
    decided = np.where(rows["won"].eq(True), "won", "lost")
    return pd.DataFrame(
        {
            "account_id": history.population.ids[rows["account"].to_numpy(dtype=int)],
            "product": rows["product"].to_numpy(),
            "offered_at": clock.times(rows["offered"] + 0.4),
            "decided_at": clock.times(rows["decided"] + 0.6),
            "status": np.where(rows["decided"].notna(), decided, "open"),
        }
    )


def plays(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `plays` table: what the team did where it believed to see a cause, and what it held out by lot."""
    population, clock = history.population, history.population.clock
    books = np.array([PLAY_FOR[cause.name] for cause in CAUSES], dtype=object)
    rows = history.plays
    account = rows["account"].to_numpy(dtype=int)
    started = rows["day"].to_numpy(dtype=float) + 0.4
    held_out = rows["held_out"].to_numpy(dtype=bool)
    ended = np.where(held_out, np.nan, started + rng.uniform(10, 45, len(rows)))
    return pd.DataFrame(
        {
            "account_id": population.ids[account],
            "playbook": books[rows["cause"].to_numpy(dtype=int)],
            "started_at": clock.times(started),
            "play_id": [f"L{number:05d}" for number in range(1, len(rows) + 1)],
            "ended_at": clock.times(until(ended, history.end[account])),
            "assignment": np.where(held_out, "held_out", "treated"),
            "probability": 1 - PLAY_HELD_OUT,
        }
    )


def rates_of_exchange(clock: Clock, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `fx` table: the month's rates to EUR of the currencies around, though every customer is billed in EUR."""
    month = np.arange(clock.months) * STEP_DAYS
    parts = []
    for currency, level in FX_LEVELS.items():
        rate = level * np.exp(rng.normal(0, 0.012, len(month)).cumsum())
        parts.append(pd.DataFrame({"currency": currency, "date": clock.times(month), "rate": rate.round(6)}))
    return pd.concat(parts, ignore_index=True)


def invoices(history: History, subscriptions: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `invoices` table: each month the MRR that runs then; late or unpaid in payment trouble."""
    population, clock = history.population, history.population.clock
    months = population.boundaries(np.ones(len(population), dtype=int))
    account = months["account"].to_numpy()
    rows = months[(months["day"] >= 0) & (months["day"] < history.end[account])].sort_values("day", kind="stable")
    account, issued = rows["account"].to_numpy(), rows["day"].to_numpy() + 0.25
    due = issued + np.where(population.size[account] == len(SIZES) - 1, 30, 14)
    slow = rng.gamma(1.2, 2.5, len(population))
    paid = np.maximum(due + rng.normal(-5, 4, len(rows)) + slow[account] * (rng.random(len(rows)) < 0.4), issued + 0.5)
    paid = _held_back(account, paid, history.of("payment_trouble"), rng)
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


def _held_back(account: np.ndarray, paid: np.ndarray, trouble: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return when the invoices are paid if none is while payment trouble lasts: after it has passed, or never."""
    asked = pd.DataFrame({"account": account, "paid": paid, "row": np.arange(len(paid))}).sort_values("paid", kind="stable")
    spans = trouble[["account", "start", "end", "leaves"]].sort_values("start", kind="stable")
    met = pd.merge_asof(asked, spans, left_on="paid", right_on="start", by="account")
    end = met["end"].where(~met["leaves"].eq(True)).fillna(np.inf)
    hit = met["start"].notna() & (met["paid"] < end)
    after = end + rng.uniform(0.2, 9.0, len(met))
    held = paid.copy()
    held[met.loc[hit, "row"]] = after[hit]
    return np.maximum(held, paid)


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
    closing = month * 30 + 29
    day = np.minimum(closing, clock.days - 1) + 0.7
    account, step = np.nonzero((day >= history.begin[:, None]) & (day < history.end[:, None]))
    hours = np.array([0.5, 2.0, 8.0])[population.size[account]] * rng.gamma(4, 0.25, len(account))
    service = pd.DataFrame({"account": account, "kind": "service", "day": day[step], "hours": np.round(hours, 1)})
    service["amount"] = np.round(service["hours"] * HOURLY_COST, 2)
    service = service[closing[step] < clock.days]  # a month is charged when it is over
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
