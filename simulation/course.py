"""The course of things: on each day, how fast hidden causes come and go and what they make accounts do.

Each cause at each account is in one of five states; `Course.on` gives the rates of the steps between them for one day. Life is
drawn from these rates (life.py) and the truth is integrated over the same ones (truth.py).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.population import Population
from simulation.world import (
    ACCEPTED_RISE,
    CAUSE_INDEX,
    CAUSELESS_LEAVES,
    CAUSELESS_SHRINKS,
    CAUSES,
    CHANGE_REST_DAYS,
    DECISION_DAYS,
    DECISION_PACE,
    EARLY_PACE,
    GROWTH_ONSET,
    HANDOVER_LOST_FAILS,
    LEAVING_SEASON,
    ONBOARDING_AGES,
    PRICE_NEWS_DAYS,
    PRICE_NEWS_PACE,
    SETTLING_DAYS,
    TRUE_UP_DAYS,
    TRUE_UP_PACE,
)

Floats = npt.NDArray[np.float64]

#: States of a cause at an account: not there, brewing, acute; mild or severe.
NONE, BREWS, BREWS_SEVERELY, ACUTE, ACUTE_SEVERELY = range(5)
#: States of growth.
FLAT, GROWING, OFFERED = range(3)
#: Days before the simulated period from which causes run, so that the period does not begin in paradise.
WARM_UP_DAYS = 365
_NEVER = 30_000
_MONTH = 30.0

_ONBOARDING, _PAYMENT, _PRICE = (CAUSE_INDEX[name] for name in ("failed_onboarding", "payment_trouble", "price_increase"))


def _per_cause(field: str) -> Floats:
    return np.array([getattr(cause, field) for cause in CAUSES])[:, None]


@dataclass(frozen=True)
class Rates:
    """Rates per day; (causes, accounts) or (accounts,). `leaves` and `shrinks` are those of an acute, severe cause.

    `rise`: probability that the price rises that day without bad blood.
    """

    onset: Floats
    leaves: Floats
    shrinks: Floats
    causeless_leaves: Floats
    causeless_shrinks: Floats
    growth: Floats
    rise: Floats


class Course:
    """The rates of one population, from WARM_UP_DAYS before its period to `ahead` days after it."""

    def __init__(self, population: Population, susceptible: Floats, ahead: int) -> None:
        """Take `susceptible`: (causes, accounts), how much oftener than usual each cause comes."""
        self.population = population
        risk = np.exp(-0.45 * population.quality)
        often = _per_cause("onset") / 365 * susceptible
        often = often * np.where(np.arange(len(CAUSES))[:, None] == _PAYMENT, 1.0, risk)
        often[_ONBOARDING] *= np.where(population.handover_lost, HANDOVER_LOST_FAILS, 1.0)
        self._onset = often
        self._growth = GROWTH_ONSET / 365 * np.exp(0.5 * population.quality)
        self._leaves, self._shrinks = _per_cause("leaves") / _MONTH, _per_cause("shrinks") / _MONTH
        self._to_renewal, self._since_renewal = self._renewals(ahead)

    def on(self, day: int) -> Rates:
        """Return the rates of `day` (days since the start of the period; negative = before it)."""
        population = self.population
        age, yearly = day - population.created, population.term == 12
        to, since = (table[:, day + WARM_UP_DAYS] for table in (self._to_renewal, self._since_renewal))
        deadline = to - population.notice_days
        deciding = np.where(yearly, np.where((deadline >= 0) & (deadline < DECISION_DAYS), DECISION_PACE, EARLY_PACE), 1.0)
        month = (population.clock.start + np.timedelta64(day, "D")).astype("datetime64[M]").astype(int) % 12
        settled = age >= SETTLING_DAYS
        deciding = deciding * settled * LEAVING_SEASON[month]
        reducing = settled * np.where(yearly, TRUE_UP_PACE * (since < TRUE_UP_DAYS), 1.0)

        begins = np.repeat(settled[None, :].astype(float), len(CAUSES), axis=0)
        begins[_ONBOARDING] = (age >= ONBOARDING_AGES[0]) & (age < ONBOARDING_AGES[1])
        told = (to <= PRICE_NEWS_DAYS[0]) & (to > PRICE_NEWS_DAYS[1])
        begins[_PRICE] *= np.where(yearly, PRICE_NEWS_PACE * told, 1.0)
        leaves = np.repeat(deciding[None, :], len(CAUSES), axis=0)
        # A failed onboarding has a way out of any contract, and who does not pay is shut off.
        leaves[_ONBOARDING] = leaves[_PAYMENT] = settled
        return Rates(
            onset=self._onset * begins,
            leaves=self._leaves * leaves,
            shrinks=self._shrinks * reducing,
            causeless_leaves=CAUSELESS_LEAVES / _MONTH * deciding,
            causeless_shrinks=(CAUSELESS_SHRINKS / _MONTH * reducing).astype(float),
            growth=self._growth * settled,
            rise=ACCEPTED_RISE * (since == 0),
        )

    def service_end(self, day: int) -> npt.NDArray[np.int64]:
        """Return the day on which each yearly term ends at notice on `day`: a year later once the deadline has passed."""
        to = self._to_renewal[:, day + WARM_UP_DAYS].astype(int)
        following = self._to_renewal[np.arange(len(to)), (day + to + WARM_UP_DAYS).clip(max=self._to_renewal.shape[1] - 1)]
        return day + to + np.where(to < self.population.notice_days, following, 0)

    def _renewals(self, ahead: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
        """Days to the next and since the last end of a year of service: (accounts, days from −WARM_UP_DAYS)."""
        population = self.population
        days = np.arange(-WARM_UP_DAYS, population.clock.days + ahead)
        to = np.full((len(population), len(days)), _NEVER, dtype=np.int16)
        since = to.copy()
        everyone = np.arange(len(population))
        years = int((days[-1] - population.created.min()) // 365) + 2
        for year in range(years, 0, -1):
            end = population.boundary(everyone, np.full(len(population), 12 * year))[:, None]
            np.copyto(to, (end - days).clip(-_NEVER, _NEVER).astype(np.int16), where=days < end)
            np.copyto(since, np.minimum(since, days - end).astype(np.int16), where=days >= end)
        return to, since


def rests(last: npt.NDArray[np.int64], day: int) -> npt.NDArray[np.bool_]:
    """Whether `day` lies within the rest after a change on day `last`."""
    return day - last < CHANGE_REST_DAYS
