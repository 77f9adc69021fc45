"""Contracts: seats that follow use, prices, add-ons, and the rows of constant terms that they make."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulation.causes import History
from simulation.draws import until, working_hours
from simulation.population import STEP_DAYS
from simulation.world import ADDONS, CAUSE_INDEX, CAUSELESS, CAUSES, CORE, CURRENCY, PLANS, SIZES, STATED_REASON

#: Effect of a cause at full strength on the logarithm of the number of active users.
_FEWER_USERS = {
    "usage_decline": -2.0,
    "failed_onboarding": -1.0,
    "champion_left": -0.4,
    "value_not_reached": -0.3,
    "silence": -0.3,
    "support_trouble": -0.25,
    "decision_maker_not_met": -0.2,
    "price_increase": -0.15,
}


@dataclass(frozen=True)
class Contracts:
    """`seats`: (accounts, months); `users` (engaged, before short-term noise) and goal `progress`: (accounts, weeks).

    `changes`: account, day, seats. `addons`: account, product, day. `offers`: account, product, offered, decided, won.
    """

    seats: np.ndarray
    users: np.ndarray
    progress: np.ndarray
    changes: pd.DataFrame
    addons: pd.DataFrame
    offers: pd.DataFrame


def use_factor(history: History) -> np.ndarray:
    """Return (accounts, weeks): what the causes leave of the number of active users, in (0, 1]."""
    return np.exp(sum(effect * history.signals[name] for name, effect in _FEWER_USERS.items()))


def goal_progress(history: History, rng: np.random.Generator) -> np.ndarray:
    """Return (accounts, weeks): how much of its own goals each account has reached (1 = all), noise apart."""
    population = history.population
    day = np.arange(population.clock.weeks)[None, :] * 7 - population.created[:, None]
    level = np.clip(rng.normal(0.95, 0.18, len(population)) + 0.06 * population.quality, 0.3, 1.4)[:, None]
    pace = rng.uniform(60, 150, len(population))[:, None]
    reached = level * (1 - np.exp(-np.maximum(day, 0) / pace))
    return reached * (1 - 0.6 * history.signals["value_not_reached"] - 0.4 * history.signals["failed_onboarding"])


def sign(history: History, rng: np.random.Generator) -> Contracts:
    """Let seats follow use month by month, and add-ons follow offers."""
    population, clock = history.population, history.population.clock
    count = len(population)
    progress, factor = goal_progress(history, rng), use_factor(history)
    ends = population.boundaries(population.term)
    renewal = np.full((count, clock.months), -1)
    inside = ends[(ends["day"] >= 0) & (ends["day"] < clock.days) & (ends["k"] > 0)]
    renewal[inside["account"].to_numpy(), inside["day"].to_numpy() // STEP_DAYS] = inside["day"]

    use = np.clip(rng.beta(5, 3.2, count), 0.12, 0.95)
    drift = rng.normal(0.001, 0.02, count)
    now = population.seats.copy()
    seats, base = np.empty((count, clock.months), dtype=int), np.empty((count, clock.months))
    changes = []
    last = np.minimum(history.notice, history.leave)
    for month in range(clock.months):
        running = population.created < (month + 1) * STEP_DAYS
        use = np.where(running, np.clip(use + drift + rng.normal(0, 0.03, count), 0.05, 1.0), use)
        week = min(month * STEP_DAYS // 7 + 2, clock.weeks - 1)
        seen = use * factor[:, week]
        more = rng.random(count) < 0.0004 + 0.13 / (1 + np.exp(-30 * (seen - 0.93))) * np.where(progress[:, week] > 0.9, 1.5, 0.7)
        due = renewal[:, month]
        chance = np.where(population.term == 12, 0.40, 0.060) / (1 + np.exp(12 * (seen - 0.36)))
        fewer = ~more & (rng.random(count) < chance + 0.002) & (due >= 0) & (now > 1)
        day = np.where(fewer, due, month * STEP_DAYS + rng.integers(0, STEP_DAYS, count))
        changed = (more | fewer) & (day > population.created + 30) & (day < last - 1) & (day < clock.days)
        ratio = np.where(more, rng.uniform(1.1, 1.45, count), rng.uniform(0.6, 0.88, count))
        after = np.where(more, np.maximum(now + 1, np.rint(now * ratio)), np.minimum(now - 1, np.rint(now * ratio)))
        after = np.where(changed, np.maximum(after, 1), now).astype(int)
        use = np.clip(use * now / after, 0.05, 1.0)
        account = np.flatnonzero(changed)
        changes.append(pd.DataFrame({"account": account, "day": day[account], "seats": after[account]}))
        now = after
        seats[:, month], base[:, month] = now, use * now
    users = base[:, clock.month_of_week] * factor
    offers = _offers(history, (users / seats[:, clock.month_of_week]), rng)
    return Contracts(seats, users, progress, pd.concat(changes, ignore_index=True), _addons(history, offers, rng), offers)


def _offers(history: History, use: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw offers of add-ons; who uses the product well buys oftener."""
    population = history.population
    last = np.minimum(np.minimum(history.notice, history.leave), population.clock.days)
    lasting = np.maximum(last - history.begin - 60, 0)
    account = np.repeat(np.arange(len(population)), rng.poisson(lasting / 30.4 * 0.030))
    offered = np.floor(history.begin[account] + 60 + rng.random(len(account)) * lasting[account])
    decided = offered + rng.integers(5, 50, len(account))
    won = rng.random(len(account)) < 0.45 / (1 + np.exp(-14 * (use[account, (offered // 7).astype(int)] - 0.72)))
    offers = pd.DataFrame({"account": account, "product": rng.choice(list(ADDONS), len(account)), "offered": offered})
    offers["decided"], offers["won"] = until(decided, last[account]), won
    return offers


def _addons(history: History, offers: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return since when each account has which add-on: bought with the contract, or by a won offer."""
    population = history.population
    share = np.array([size.addon_share for size in SIZES])[population.size]
    account, product = np.nonzero(rng.random((len(population), len(ADDONS))) < share[:, None])
    first = pd.DataFrame({"account": account, "product": np.array(list(ADDONS))[product]})
    first["day"] = population.created[account].astype(float)
    bought = offers[offers["won"] & offers["decided"].notna()].rename(columns={"decided": "day"})
    every = pd.concat([first, bought[["account", "product", "day"]]])
    return every.sort_values("day", kind="stable").drop_duplicates(["account", "product"])


def subscriptions(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `subscriptions` table: one row per account, product and interval of constant terms."""
    population, clock = history.population, history.population.clock
    terms = _terms(history, contracts, rng)
    since = pd.concat(
        [
            pd.DataFrame({"account": np.arange(len(population)), "product": CORE, "day": population.created}),
            contracts.addons,
        ]
    ).rename(columns={"day": "since"})
    rows = terms.merge(since, on="account")
    rows["from"] = np.maximum(rows["from"], rows["since"])
    rows = rows[rows["from"] < rows["to"]]
    account = rows["account"].to_numpy()
    list_price = np.array(list(PLANS.values()))[population.plan[account]]
    list_price = rows["product"].map(ADDONS).fillna(pd.Series(list_price, index=rows.index)).to_numpy()
    price = np.round(list_price * (1 - population.discount[account]) * rows["level"], 4)
    leaves = rows["to"].to_numpy() >= history.leave[account]
    notice_day = np.floor(history.notice) + working_hours(len(population), rng)
    cancelled = until(np.where(rows["to"] > history.notice[account], notice_day[account], np.nan), clock.days)
    told = rng.random(len(population)) < 0.8
    names = [STATED_REASON[cause.name] for cause in CAUSES] + [STATED_REASON[CAUSELESS]]
    reason = np.where(told, np.array(names, dtype=object)[history.reason], STATED_REASON[CAUSELESS])[account]
    ended = until(rows["to"].to_numpy(), clock.days)
    unpaid = history.reason[account] == CAUSE_INDEX["payment_trouble"]
    shown = np.isfinite(cancelled) | (leaves & unpaid & np.isfinite(ended))
    voluntary = np.where(leaves & np.isfinite(ended), ~unpaid, None)
    return pd.DataFrame(
        {
            "account_id": population.ids[account],
            "started_at": clock.times(rows["from"]),
            "ended_at": clock.times(ended),
            "subscription_id": population.ids[account] + np.array("-", dtype=object) + rows["product"].to_numpy(object),
            "product": rows["product"].to_numpy(),
            "plan": np.array(list(PLANS))[population.plan[account]],
            "seats": rows["seats"].to_numpy(),
            "mrr": np.round(price * rows["seats"], 2).to_numpy(),
            "currency": CURRENCY,
            "cancelled_at": clock.times(cancelled),
            "cancel_reason": np.where(shown, reason, None),
            "voluntary": voluntary,
            "term_months": population.term[account],
            "renewal_at": clock.times(rows["renewal"]),
            "notice_days": population.notice_days[account],
            "auto_renew": (population.size[account] < len(SIZES) - 1),
        }
    )


def _terms(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Cut each account's life where its seats, price or renewal date change: account, from, to, seats, level, renewal."""
    population = history.population
    ends = population.boundaries(population.term)
    ends["renewal"] = population.boundary(
        ends["account"].to_numpy(), (ends["k"] + 1) * population.term[ends["account"].to_numpy()]
    )
    ends["seats"] = np.where(ends["k"] == 0, population.seats[ends["account"].to_numpy()], np.nan)
    ends["factor"] = 1.0
    years = population.boundaries(np.full(len(population), 12))
    years = years[years["k"] > 0].assign(factor=lambda frame: 1 + np.round(rng.uniform(0.0, 0.04, len(frame)), 3))
    raises = history.episodes[history.episodes["cause"] == CAUSE_INDEX["price_increase"]]
    raises = raises.assign(day=raises["start"], factor=1 + np.round(rng.uniform(0.10, 0.28, len(raises)), 3))
    points = pd.concat([ends, years, contracts.changes, raises[["account", "day", "factor"]]], ignore_index=True)
    points = points[points["day"] < history.end[points["account"].to_numpy()]].fillna({"factor": 1.0})
    points = points.sort_values(["account", "day"], kind="stable")
    by_account = points.groupby("account")
    points["level"] = by_account["factor"].cumprod()
    points[["seats", "renewal"]] = by_account[["seats", "renewal"]].ffill()
    points = points.drop_duplicates(["account", "day"], keep="last").rename(columns={"day": "from"})
    following = points.groupby("account")["from"].shift(-1)
    limit = pd.Series(history.leave[points["account"].to_numpy()], index=points.index)
    points["to"] = following.fillna(limit)
    points["seats"] = points["seats"].astype(int)
    return points[["account", "from", "to", "seats", "level", "renewal"]]
