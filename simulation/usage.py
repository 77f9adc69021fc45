"""Use of the product: one row per user, day and feature, with the seasons of the week and the year."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from simulation.contracts import Contracts
from simulation.draws import happenings, late, working_hours
from simulation.history import History
from simulation.world import CANCELLATION_PAGE, FEATURES, SIZES

#: Users drawn at once: bounds the memory of one (users, days) matrix.
_BATCH = 3_000
_WEEKDAY = np.array([1.0, 1.05, 1.05, 1.0, 0.85, 0.07, 0.05])
#: Rows that reach the source a day or more after the event.
_LATE_SHARE = 0.03
#: Twenty million rows in wide integers would take gigabytes.
_COMPACT = {"account": np.int32, "rank": np.int16, "day": np.int16, "feature": np.int8}


def season(start: np.datetime64, days: int) -> np.ndarray:
    """Return the share of normal use on each day: weekends, July, Christmas and a few fixed holidays are quiet.

    >>> season(np.datetime64("2026-01-01"), 3).round(2).tolist()
    [0.1, 0.85, 0.07]
    """
    dates = pd.date_range(start, periods=days)
    factor = _WEEKDAY[dates.day_of_week]
    factor = factor * np.where(dates.month == 7, 0.55, 1.0)
    day = dates.strftime("%m-%d")
    return factor * np.where((day >= "12-23") | (day == "01-01") | (day == "05-01") | (day == "01-06"), 0.1, 1.0)


@dataclass(frozen=True)
class _Activity:
    """`users` active and `eager` (chance of use on a working day): (accounts, weeks); `wanted`: (accounts, features)."""

    users: np.ndarray
    eager: np.ndarray
    wanted: np.ndarray
    narrow: np.ndarray


def usage(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `usage` table, late rows and visits to the cancellation page among them."""
    population, clock = history.population, history.population.clock
    rows = pd.concat([_uses(history, _activity(history, contracts, rng), rng), _cancellations(history, rng)])
    rows["recorded"] = late(rows["day"].to_numpy(), _LATE_SHARE, rng)
    rows = rows[rows["recorded"] < clock.days].sort_values("day", kind="stable", ignore_index=True)
    users = pd.Series([f"-u{number:03d}" for number in range(1, int(contracts.seats.max()) + 1)])
    features = pd.Series([*(feature.name for feature in FEATURES), CANCELLATION_PAGE])
    account = pd.Series(population.ids, dtype="str").take(rows["account"].to_numpy()).reset_index(drop=True)
    return pd.DataFrame(
        {
            "account_id": account,
            "feature": features.take(rows["feature"].to_numpy()).array,
            "occurred_at": clock.times(rows["day"]),
            "event_id": _numbered("e", len(rows)),
            "user_id": account + users.take(rows["rank"].to_numpy()).reset_index(drop=True),
            "quantity": rows["quantity"].to_numpy(),
            "value": rows["value"].to_numpy(),
            "recorded_at": clock.times(rows["recorded"]),
        }
    )


def _activity(history: History, contracts: Contracts, rng: np.random.Generator) -> _Activity:
    """Add to the causes what has none: slow drifts that come back, short dips, and the first weeks of a new account."""
    population, clock = history.population, history.population.clock
    shape = (len(population), clock.weeks)
    drift = rng.normal(0, 0.028, shape).cumsum(axis=1)
    drift -= np.linspace(0, 1, clock.weeks)[None, :] * drift[:, -1:]
    dips = (rng.random(shape) < 0.004) * rng.uniform(0.2, 0.9, shape)
    dips[:, 1:] = np.maximum(dips[:, 1:], dips[:, :-1])
    settling = np.clip((np.arange(clock.weeks)[None, :] * 7 - population.created[:, None]) / 50, 0.25, 1)
    full = contracts.seats
    users = contracts.users * np.exp(0.35 * drift) * (1 - dips) * settling
    usual = np.array([size.habit for size in SIZES])[population.size]
    habit = np.clip(usual * rng.lognormal(0.08 * population.quality, 0.4), 0.06, 0.7)
    decline, stalled = history.signals["usage_decline"], history.signals["failed_onboarding"]
    adopted = rng.random((len(population), len(FEATURES))) < 0.72
    share = np.array([feature.share for feature in FEATURES])
    return _Activity(
        users=np.minimum(np.rint(users + rng.uniform(-0.5, 0.5, shape)), full),
        eager=habit[:, None] * np.exp(0.3 * drift) * (1 - 0.6 * decline),
        wanted=np.where(adopted, share, 0.01).astype(np.float32),
        narrow=(1 - 0.6 * stalled - 0.25 * decline).astype(np.float32),
    )


def _uses(history: History, activity: _Activity, rng: np.random.Generator) -> pd.DataFrame:
    """Draw who used which feature on which day, a batch of users at a time."""
    clock = history.population.clock
    days, week = np.arange(clock.days), np.arange(clock.days) // 7
    chance = (activity.eager[:, week] * season(clock.start, clock.days)).astype(np.float32)
    running = (days >= history.begin[:, None]) & (days + 1 <= history.end[:, None])
    users = np.where(running, activity.users[:, week], 0).astype(np.int32)
    most = np.maximum(users.max(axis=1), 1)
    owner = np.repeat(np.arange(len(most)), most)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(most) - most, most)
    liking = rng.lognormal(-0.2, 0.75, len(owner)).astype(np.float32)
    parts = []
    for first in range(0, len(owner), _BATCH):
        who, number = owner[first : first + _BATCH], rank[first : first + _BATCH]
        active = rng.random((len(who), clock.days), dtype=np.float32)
        active = (active < chance[who] * liking[first : first + _BATCH, None]) & (number[:, None] < users[who])
        user, day = np.nonzero(active)
        touched = rng.random((len(user), len(FEATURES)), dtype=np.float32)
        touched = touched < activity.wanted[who[user]] * activity.narrow[who[user], week[day]][:, None]
        touched[:, 0] |= ~touched.any(axis=1)
        row, feature = np.nonzero(touched)
        part = {"account": who[user[row]], "rank": number[user[row]], "day": day[row], "feature": feature}
        parts.append(pd.DataFrame(part).astype(_COMPACT))
    rows = pd.concat(parts)
    feature = rows["feature"].to_numpy()
    rows["day"] = rows["day"] + working_hours(len(rows), rng)
    rows["quantity"] = (1 + rng.poisson(np.array([feature.uses - 1 for feature in FEATURES])[feature])).astype(np.int32)
    rows["value"] = np.array([feature.hours_saved for feature in FEATURES])[feature] * rows["quantity"]
    return rows


def _cancellations(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Draw visits to the cancellation page: by some who consider leaving, by a few others in passing."""
    worry = np.max(list(history.signals.values()), axis=0)
    account, day = happenings(history, 0.003 + 0.05 * np.maximum(worry - 0.3, 0), rng)
    visits = pd.DataFrame({"account": account, "rank": 0, "day": day, "feature": len(FEATURES)})
    return visits.assign(quantity=1, value=0.0).astype({**_COMPACT, "day": float, "quantity": np.int32})


def _numbered(prefix: str, count: int) -> pd.Series:
    """Return ids such as e0000001, made by Arrow because a million Python strings are slow."""
    digits = pc.utf8_lpad(pa.array(np.arange(1, count + 1)).cast(pa.string()), 8, "0")
    return pd.Series(pc.binary_join_element_wise(prefix, digits, ""), dtype="str")
