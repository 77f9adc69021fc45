"""Contracts: seats that follow use, prices, add-ons, and the rows of constant terms that they make."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulation.draws import until
from simulation.history import History
from simulation.world import (
    ADDON_AGAIN,
    ADDONS,
    CAUSE_INDEX,
    CAUSELESS,
    CAUSES,
    CORE,
    CURRENCY,
    INDEXATION,
    PLANS,
    SIZES,
    STATED_REASON,
)

#: Effect of a cause at full strength on the logarithm of the number of active users.
_FEWER_USERS = {
    "usage_decline": -2.2,
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
    """`seats`, `users` (engaged, before short-term noise) and goal `progress`: (accounts, weeks).

    `addons`: account, product, day on which it was bought. `products`: the product of each of history.offers.
    `changes`: history.changes without the add-ons, and what took their place: account, day, kind, ratio.
    """

    seats: np.ndarray
    users: np.ndarray
    progress: np.ndarray
    addons: pd.DataFrame
    products: np.ndarray
    changes: pd.DataFrame


def use_factor(history: History) -> np.ndarray:
    """Return (accounts, weeks): what the causes leave of the number of active users, in (0, 1]."""
    return np.exp(sum(effect * history.signals[name] for name, effect in _FEWER_USERS.items()))


def goal_progress(history: History, rng: np.random.Generator) -> np.ndarray:
    """Return (accounts, weeks): how much of its own goals each account has reached (1 = all), noise apart."""
    population = history.population
    day = np.arange(population.clock.weeks)[None, :] * 7 - population.created[:, None]
    level = np.clip(rng.normal(0.97, 0.12, len(population)) + 0.06 * population.quality, 0.3, 1.4)[:, None]
    pace = rng.uniform(40, 110, len(population))[:, None]
    reached = level * (1 - np.exp(-np.maximum(day, 0) / pace))
    return reached * (1 - 0.85 * history.signals["value_not_reached"] - 0.25 * history.signals["failed_onboarding"])


def sign(history: History, rng: np.random.Generator) -> Contracts:
    """Let use follow seats, growth and trouble, and add-ons follow offers."""
    population = history.population
    count = len(population)
    progress, factor = goal_progress(history, rng), use_factor(history)
    usual = np.clip(rng.beta(5, 3.2, count) + 0.03 * population.quality, 0.12, 0.9)[:, None]
    users = history.seats * np.clip(usual * (1 + 0.45 * history.growing), 0.05, 1.0) * factor
    products = rng.choice(list(ADDONS), len(history.offers))
    addons, changes = _addons(history, products, rng)
    return Contracts(history.seats, users, progress, addons, products, changes)


def _addons(history: History, products: np.ndarray, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return since when each account has which add-on, and the changes of seats and price.

    An add-on comes with the contract or by a won offer; who wins an offer of one that it has takes more seats instead.
    """
    population = history.population
    share = np.array([size.addon_share for size in SIZES])[population.size]
    account, product = np.nonzero(rng.random((len(population), len(ADDONS))) < share[:, None])
    first = pd.DataFrame({"account": account, "product": np.array(list(ADDONS))[product]})
    first["day"] = population.created[account].astype(float)
    won = history.offers["won"].eq(True)
    bought = history.offers[won].assign(product=products[won.to_numpy()]).rename(columns={"decided": "day"})
    every = pd.concat([first, bought[["account", "product", "day"]]]).sort_values("day", kind="stable")
    again = every.duplicated(["account", "product"])
    more = every.loc[again, ["account", "day"]].assign(kind="price", ratio=1.0 + ADDON_AGAIN)
    changes = pd.concat([history.changes[history.changes["kind"] != "addon"], more], ignore_index=True)
    return every[~again], changes


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
    cancelled = until(np.where(rows["to"] > history.notice[account], history.notice[account], np.nan), clock.days)
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
    years = years[years["k"] > 0].assign(factor=lambda frame: 1 + np.round(rng.uniform(0.0, INDEXATION, len(frame)), 3))
    changes = contracts.changes.assign(
        seats=lambda frame: frame["ratio"].where(frame["kind"] != "price"),
        factor=lambda frame: frame["ratio"].where(frame["kind"] == "price"),
    )
    points = pd.concat([ends, years, changes[["account", "day", "seats", "factor"]]], ignore_index=True)
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
