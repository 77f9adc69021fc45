"""Why accounts leave: episodes of hidden causes, the departures they end in, and how strongly each is felt by week."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulation.population import Population
from simulation.world import (
    CAUSE_INDEX,
    CAUSELESS,
    CAUSELESS_MONTH,
    CAUSELESS_RENEWAL,
    CAUSES,
    LAG_DAYS,
    LEAVES,
    MIDTERM_CAUSE,
    MONTHLY_CAUSE,
    ONBOARDING_FAILS,
    PAYMENT_TROUBLE,
    PLAY_EFFECT,
    PLAY_SHARE,
    RENEWAL_CAUSE,
    USUAL_LAG_DAYS,
)

_NONE = -1
_PAYMENT = CAUSE_INDEX["payment_trouble"]
_ONBOARDING = CAUSE_INDEX["failed_onboarding"]
_EPISODE = {
    "account": int,
    "cause": int,
    "start": float,
    "decide": float,
    "strength": float,
    "notice": float,
    "leave": float,
}
#: Days for which a new account is left in peace before anything can make it leave.
_SETTLING = 20
#: Days in which a cause that faded loses two thirds of its strength.
_FADING = 18.0


@dataclass(frozen=True)
class History:
    """What happens to the accounts: `begin` ≤ day < `end` is the time in which they may act; `leave` may be inf.

    `episodes`: account, cause, start, decide, notice, leave, strength, leaves, play (days; NaN = never).
    `signals`: cause → float32 array (accounts, weeks) in [0, 1], how strongly the cause is felt.
    """

    population: Population
    episodes: pd.DataFrame
    signals: dict[str, np.ndarray]
    begin: np.ndarray
    end: np.ndarray
    notice: np.ndarray
    leave: np.ndarray
    reason: np.ndarray

    def truth(self) -> pd.DataFrame:
        """Return one row per cause that began in the period, and per departure without one.

        Columns: account_id, cause, driver (which the cause should read as), started_at, faded_at (it passed), notice_at,
        left_at (end of service, which a notice can put after the end of the data); empty = has not happened.
        """
        clock, rows = self.population.clock, self.episodes
        event = rows["notice"].fillna(rows["leave"])
        left = rows["leaves"] & (event < clock.days)
        rows = rows[(rows["start"].fillna(event) < clock.days) & (left | (rows["cause"] != _NONE))]
        left = left[rows.index]
        drivers = {index: cause.driver for index, cause in enumerate(CAUSES)}
        names = {index: cause.name for index, cause in enumerate(CAUSES)} | {_NONE: CAUSELESS}
        faded = rows["decide"].where(~rows["leaves"] & (rows["decide"] < self.end[rows["account"].to_numpy()]))
        frame = pd.DataFrame(
            {
                "account_id": self.population.ids[rows["account"].to_numpy()],
                "cause": rows["cause"].map(names).astype("str"),
                "driver": rows["cause"].map(drivers).astype("str"),
                "started_at": clock.times(rows["start"]),
                "faded_at": clock.times(faded),
                "notice_at": clock.times(rows["notice"].where(left)),
                "left_at": clock.times(rows["leave"].where(left)),
            }
        )
        return frame.sort_values(["account_id", "started_at", "cause"], kind="stable").reset_index(drop=True)


def live(population: Population, rng: np.random.Generator) -> History:
    """Draw every episode, decide which departure comes first, and drop what would have come after it."""
    clock = population.clock
    risk = np.exp(-0.4 * population.quality + rng.normal(0, 0.15, len(population)) - 0.09)
    sources = (
        _renewals(population, risk, rng),
        _any_time(population, risk, rng),
        _payment(population, rng),
        _onboarding(population, risk, rng),
    )
    drawn = pd.concat(sources, ignore_index=True).astype(_EPISODE)
    drawn["play"] = np.where(
        (drawn["cause"] >= 0) & (rng.random(len(drawn)) < PLAY_SHARE),
        drawn["start"] + (drawn["decide"] - drawn["start"]) * rng.uniform(0.3, 0.9, len(drawn)),
        np.nan,
    )
    drawn["leaves"] = _leaves(drawn, population, rng)
    episodes, notice, leave, reason = _first_departures(drawn, population)
    begin = np.maximum(population.created, 0).astype(float)
    end = np.minimum(leave, clock.days)
    return History(population, episodes, _felt(episodes, population), begin, end, notice, leave, reason)


def _struck(account: np.ndarray, start: np.ndarray, decide: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return episodes of causes drawn by weight, with their strength."""
    weights = np.array([cause.weight for cause in CAUSES])
    return pd.DataFrame(
        {
            "account": account,
            "cause": rng.choice(len(CAUSES), len(account), p=weights / weights.sum()),
            "start": np.floor(start),
            "decide": decide,
            "strength": rng.beta(5, 2, len(account)),
        }
    )


def _lag(size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.triangular(LAG_DAYS[0], USUAL_LAG_DAYS, LAG_DAYS[1], size)


def _renewals(population: Population, risk: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Yearly accounts decide in the month before their notice deadline; some come there with a cause, few without."""
    ends = population.boundaries(population.term)
    ends = ends[(population.term[ends["account"].to_numpy()] == 12) & (ends["k"] >= 1) & (ends["day"] > 0)]
    account, leave = ends["account"].to_numpy(), ends["day"].to_numpy().astype(float)
    decide = leave - population.notice_days[account] - rng.uniform(1, 30, len(ends))
    caused = rng.random(len(ends)) < RENEWAL_CAUSE * risk[account]
    episodes = _struck(account, decide - _lag(len(ends), rng), decide, rng)
    causeless = rng.random(len(ends)) < CAUSELESS_RENEWAL
    episodes.loc[~caused, ["cause", "start", "strength"]] = [_NONE, np.nan, 0.0]
    episodes["notice"], episodes["leave"] = decide, leave
    return episodes[caused | causeless]


def _any_time(population: Population, risk: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Causes that strike at any time: monthly accounts may leave over them, yearly ones in mid-term cannot."""
    clock = population.clock
    first = np.maximum(population.created, -LAG_DAYS[1])
    months = (clock.days - first) / 30.4
    monthly = population.term == 1
    caused = rng.poisson(np.where(monthly, MONTHLY_CAUSE, MIDTERM_CAUSE) * risk * months)
    causeless = rng.poisson(np.where(monthly, CAUSELESS_MONTH, 0.0) * months)
    account = np.repeat(np.arange(len(population)), caused + causeless)
    none = np.arange(len(account)) - np.repeat(np.cumsum(caused + causeless) - (caused + causeless), caused + causeless)
    none = none >= caused[account]
    start = first[account] + rng.random(len(account)) * (clock.days - first[account])
    episodes = _struck(account, start, start + np.where(none, 0.0, _lag(len(account), rng)), rng)
    episodes.loc[none, ["cause", "start", "strength"]] = [_NONE, np.nan, 0.0]
    return _at_month_end(episodes, population, monthly[account])


def _onboarding(population: Population, risk: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Onboarding that fails makes new accounts leave within months; yearly contracts have a way out for that."""
    new = np.flatnonzero((population.created > -60) & (rng.random(len(population)) < ONBOARDING_FAILS * risk))
    start = population.created[new] + rng.uniform(7, 30, len(new))
    episodes = _struck(new, start, start + _lag(len(new), rng), rng).assign(cause=_ONBOARDING)
    return _at_month_end(episodes, population, np.ones(len(new), dtype=bool))


def _payment(population: Population, rng: np.random.Generator) -> pd.DataFrame:
    """Payment trouble ends, if at all, without notice on the customer's side: the contract is ended for it."""
    first = np.maximum(population.created, -60) + _SETTLING
    months = np.maximum(population.clock.days - first, 0) / 30.4
    account = np.repeat(np.arange(len(population)), rng.poisson(PAYMENT_TROUBLE * months))
    start = first[account] + rng.random(len(account)) * (population.clock.days - first[account])
    decide = np.floor(start + rng.uniform(63, LAG_DAYS[1], len(account)))
    return _struck(account, start, decide, rng).assign(cause=_PAYMENT, notice=np.nan, leave=decide)


def _at_month_end(episodes: pd.DataFrame, population: Population, free: np.ndarray) -> pd.DataFrame:
    """Give the episodes of accounts that are `free` to go a notice in their last month of service."""
    account, decide = episodes["account"].to_numpy(), episodes["decide"].to_numpy()
    end, before = population.month_end(account, decide + population.notice_days[account].clip(max=30))
    notice = np.maximum(decide, before + 0.4)
    episodes["start"] = np.maximum(episodes["start"], np.where(free, np.ceil(notice - LAG_DAYS[1]), -np.inf))
    episodes["notice"] = np.where(free, notice, np.nan)
    episodes["leave"] = np.where(free, end, np.nan)
    return episodes


def _leaves(drawn: pd.DataFrame, population: Population, rng: np.random.Generator) -> np.ndarray:
    """Draw which episodes end in leaving: the stronger the cause and the poorer the fit, the likelier."""
    account = drawn["account"].to_numpy()
    odds = LEAVES / (1 - LEAVES) * np.exp(3.0 * (drawn["strength"] - 5 / 7) - 0.3 * population.quality[account])
    probability = odds / (1 + odds) * np.where(drawn["play"].notna(), 1 - PLAY_EFFECT, 1.0)
    probability = np.where(drawn["cause"] == _NONE, 1.0, probability)
    event = drawn["notice"].fillna(drawn["leave"])
    possible = event.notna() & (event > 0) & (event > population.created[account] + _SETTLING)
    return ((rng.random(len(drawn)) < probability) & possible).to_numpy()


def _first_departures(drawn: pd.DataFrame, population: Population) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Keep each account's first departure and the causes that began before it."""
    event = drawn["notice"].fillna(drawn["leave"])
    first = drawn.assign(event=event)[drawn["leaves"]].sort_values("event", kind="stable").drop_duplicates("account")
    at, notice, leave = (np.full(len(population), np.inf) for _ in range(3))
    reason = np.full(len(population), _NONE)
    who = first["account"].to_numpy()
    at[who] = first["event"]
    notice[who] = first["notice"].fillna(np.inf)
    leave[who] = first["leave"]
    reason[who] = first["cause"]
    drawn["leaves"] = drawn.index.isin(first.index)
    began = drawn["start"] < at[drawn["account"].to_numpy()]
    kept = drawn[drawn["leaves"] | (began & (drawn["cause"] != _NONE))]
    return kept.sort_values(["account", "start"], kind="stable").reset_index(drop=True), notice, leave, reason


def _felt(episodes: pd.DataFrame, population: Population) -> dict[str, np.ndarray]:
    """Return cause → (accounts, weeks): it grows over the first third of its time, and fades after a decision to stay."""
    day = np.arange(population.clock.weeks, dtype=float)[None, :] * 7 + 3.5
    signals = {cause.name: np.zeros((len(population), day.size), dtype=np.float32) for cause in CAUSES}
    for index, cause in enumerate(CAUSES):
        own = episodes[episodes["cause"] == index]
        start, decide = own["start"].to_numpy()[:, None], own["decide"].to_numpy()[:, None]
        ramp = np.clip((day - start) / (0.35 * (decide - start)), 0, 1) * own["strength"].to_numpy()[:, None]
        faded = np.exp(-np.maximum(day - decide, 0) / _FADING)
        felt = ramp * np.where(own["leaves"].to_numpy()[:, None], 1.0, faded)
        np.maximum.at(signals[cause.name], own["account"].to_numpy(), felt.astype(np.float32))
    return signals
