"""The accounts: who they are, when they came, on what terms, and the traits that nobody sees.

Days are counted from the start of the simulated period (day 0); an account that was there before has a negative day.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulation.names import CSMS, companies
from simulation.world import COUNTRIES, HANDOVER_LOST, INDUSTRIES, MONTHLY_NOTICE_DAYS, PLANS, SIZES

#: Share of accounts that are customers already on day 0, how many days back they came at most, and the share of those who
#: came that leave in a year: as many came each day then as do later.
_EARLIER_SHARE = 0.5
_EARLIER_DAYS = 1_000
_EARLIER_LEAVE = 0.25
#: Seats and users move in steps of this many days.
STEP_DAYS = 30


@dataclass(frozen=True)
class Clock:
    """The simulated period: `days` days from `start` (midnight); events lie on days in [0, days)."""

    start: np.datetime64
    days: int

    @property
    def weeks(self) -> int:
        """Number of weeks begun in the period: the grid of everything that changes slowly."""
        return -(-self.days // 7)

    @property
    def months(self) -> int:
        """Number of steps of 30 days begun in the period: the grid of the number of users."""
        return -(-self.days // STEP_DAYS)

    @property
    def month_of_week(self) -> np.ndarray:
        """Index of the 30-day step in which each week begins."""
        return np.minimum(np.arange(self.weeks) * 7 // STEP_DAYS, self.months - 1)

    def times(self, days: np.ndarray | pd.Series) -> np.ndarray:
        """Turn days (float, NaN = never) into instants (datetime64[us], whole seconds)."""
        day = np.asarray(days, dtype=float)
        known = np.isfinite(day)
        seconds = np.rint(np.where(known, day, 0.0) * 86_400).astype("int64")
        instants = self.start.astype("datetime64[us]") + seconds.astype("timedelta64[s]")
        return np.where(known, instants, np.datetime64("NaT", "us"))


@dataclass(frozen=True)
class Population:
    """Arrays of one entry per account; `size` indexes world.SIZES, `plan` world.PLANS, `quality` is standard normal."""

    clock: Clock
    ids: np.ndarray
    names: np.ndarray
    country: np.ndarray
    industry: np.ndarray
    csm: np.ndarray
    parent: np.ndarray
    strategic: np.ndarray
    employees: np.ndarray
    created: np.ndarray
    size: np.ndarray
    plan: np.ndarray
    term: np.ndarray
    notice_days: np.ndarray
    seats: np.ndarray
    discount: np.ndarray
    quality: np.ndarray
    handover_lost: np.ndarray

    def __len__(self) -> int:
        """Return the number of accounts."""
        return len(self.ids)

    def boundary(self, account: np.ndarray, months: np.ndarray) -> np.ndarray:
        """Return the day on which `account` completes `months` months since it came (same day of the month)."""
        date = self.clock.start + self.created[account].astype("timedelta64[D]")
        month = date.astype("datetime64[M]")
        since = (date - month.astype("datetime64[D]")).astype("timedelta64[D]")
        moved = (month + np.asarray(months).astype("timedelta64[M]")).astype("datetime64[D]") + since
        return (moved - self.clock.start).astype(int)

    def boundaries(self, step: np.ndarray) -> pd.DataFrame:
        """All days k × `step` months after each account came, up to the first past the period: account, k, day."""
        span = self.clock.days - self.created
        counts = (span / (28 * step)).astype(int) + 2
        account = np.repeat(np.arange(len(self)), counts)
        k = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        frame = pd.DataFrame({"account": account, "k": k, "day": self.boundary(account, k * step[account])})
        before = frame.groupby("account")["day"].shift(fill_value=-1)
        return frame[(frame["k"] == 0) | (before < self.clock.days)].reset_index(drop=True)

    def month_end(self, account: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first end of a month of service at or after `day`, and the end before it (both as days)."""
        day = np.ceil(np.asarray(day, dtype=float)).astype(int)
        months = ((day - self.created[account]) // 31).clip(min=0)
        end = self.boundary(account, months)
        while (late := end < day).any():
            months = months + late
            end = self.boundary(account, months)
        return end, self.boundary(account, months - 1)

    def table(self) -> pd.DataFrame:
        """Return the `accounts` table; an account is observed from day 0, or from when it came."""
        clock = self.clock
        return pd.DataFrame(
            {
                "account_id": self.ids,
                "name": self.names,
                "created_at": clock.times(self.created),
                "observed_from": clock.times(np.maximum(self.created, 0)),
                "industry": self.industry,
                "country": self.country,
                "employees": self.employees,
                "csm": self.csm,
                "parent_account_id": self.parent,
                "strategic": self.strategic,
            }
        )


def populate(accounts: int, clock: Clock, rng: np.random.Generator) -> Population:
    """Draw `accounts` accounts: half there from the start, the rest arriving evenly over the period."""
    earlier = rng.random(accounts) < _EARLIER_SHARE
    fading = 1 - np.exp(-_EARLIER_LEAVE * _EARLIER_DAYS / 365)
    age = 1 - 365 / _EARLIER_LEAVE * np.log1p(-fading * rng.random(accounts))
    created = np.where(earlier, -age.astype(int), rng.integers(0, clock.days, accounts))
    created = _before_29th(np.sort(created), clock)
    size = rng.choice(len(SIZES), accounts, p=[size.share for size in SIZES])
    bounds = np.array([size.seats for size in SIZES], dtype=float)[size]
    seats = np.rint(bounds[:, 0] * (bounds[:, 1] / bounds[:, 0]) ** rng.random(accounts)).astype(int)
    yearly = rng.random(accounts) < np.array([size.yearly_share for size in SIZES])[size]
    term = np.where(yearly, 12, 1)
    plan = np.clip(size + rng.choice([-1, 0, 1], accounts, p=[0.12, 0.76, 0.12]), 0, len(PLANS) - 1)
    country = rng.choice(list(COUNTRIES), accounts, p=[share for share, _ in COUNTRIES.values()])
    ids = np.array([f"A{number:05d}" for number in range(1, accounts + 1)], dtype=object)
    parent = np.full(accounts, None, dtype=object)
    children = np.flatnonzero((rng.random(accounts) < 0.03) & (np.arange(accounts) > 0))
    parent[children] = ids[rng.integers(0, children)] if len(children) else None
    return Population(
        clock=clock,
        ids=ids,
        names=companies(country, rng),
        country=country,
        industry=rng.choice(INDUSTRIES, accounts),
        csm=rng.choice(CSMS, accounts),
        parent=parent,
        strategic=(size == len(SIZES) - 1) & (rng.random(accounts) < 0.4),
        employees=np.rint(seats * np.exp(rng.normal(1.6, 0.5, accounts))).astype(int),
        created=created,
        size=size,
        plan=plan,
        term=term,
        notice_days=np.where(yearly, np.array([size.notice_days for size in SIZES])[size], MONTHLY_NOTICE_DAYS),
        seats=seats,
        discount=np.where(yearly, 0.08, 0.0) + 0.02 * rng.integers(0, 8, accounts) * (size > 0),
        quality=rng.normal(size=accounts),
        handover_lost=rng.random(accounts) < HANDOVER_LOST,
    )


def _before_29th(created: np.ndarray, clock: Clock) -> np.ndarray:
    """Move the last days of a month back to the 28th, so that every month has each account's day."""
    date = clock.start + created.astype("timedelta64[D]")
    excess = (date - date.astype("datetime64[M]")).astype("timedelta64[D]").astype(int) - 27
    return created - np.maximum(excess, 0)
