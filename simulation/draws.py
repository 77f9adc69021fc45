"""Random draws that several tables share."""

import numpy as np

from simulation.history import History


def happenings(history: History, rate: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw events at weekly `rate` (accounts, weeks) while the accounts are active.

    Returns the account of each event and its day: a working day as a rule, in working hours.
    """
    counts = rng.poisson(rate)
    account, week = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    since_monday = int(history.population.clock.start.astype(int)) + 3  # 1970-01-01 was a Thursday
    weekday = np.where(rng.random(len(account)) < 0.96, rng.integers(0, 5, len(account)), rng.integers(5, 7, len(account)))
    day = week * 7 + (weekday - since_monday) % 7 + working_hours(len(account), rng)
    alive = (day >= history.begin[account]) & (day < history.end[account])
    return account[alive], day[alive]


def working_hours(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return times of day between 7 and 18 o'clock, as fractions of a day."""
    return (7 + 11 * rng.beta(2, 2, size)) / 24


def weekly(values: np.ndarray, account: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Read (accounts, weeks) `values` at the week of each event."""
    return values[account, (day // 7).astype(int)]


def until(day: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Return `day` where it lies before `limit`, else NaN: what had not happened when the observation ended."""
    return np.where(day < limit, day, np.nan)


def late(day: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return when each event was recorded: at once, but a `share` of them one to ten days later."""
    return day + np.where(rng.random(len(day)) < share, rng.uniform(1, 10, len(day)), 0.0)
