"""What a declaration is: exact counts over the rows visible at T, and features derived from the counts.

Counts are integers, decimals or instants, so that they do not depend on the order of rows; floats are derived after.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import ibis

from features.contract import DECIMAL_SCALE, DECIMAL_TYPE

Driver = Literal[
    "usage_decline",
    "low_adoption",
    "onboarding_stalled",
    "silence",
    "stakeholder_gap",
    "champion_left",
    "support_friction",
    "negative_feedback",
    "payment_trouble",
    "renewal_near",
    "price_pressure",
    "value_unproven",
    "growth",
    "tenure_and_profile",
]
DRIVERS: tuple[str, ...] = get_args(Driver)
Direction = Literal[-1, 0, 1]

#: Instants and ages are whole microseconds.
DAY = 86_400_000_000


@dataclass(frozen=True)
class Count:
    """An exact aggregate over the rows of `source` that are visible at T.

    `expr` takes the visible rows: the contract's columns masked at T, times as microseconds since 1970, plus `as_of` and `age`
    (microseconds from the event to T), what `features.build` joins to them: `reported` (money in the reporting currency),
    `contact_role` (of touchpoints), and what `features.catalogue.derived` adds. `needs` names optional columns without which the
    count is null; `empty` is its value where the source is connected but the account has no row: silence is evidence
    (domain.md §3). `over` names the rolled-up rows that `expr` takes in place of the visible ones (features/rollup.py).
    """

    name: str
    source: str
    expr: Callable[[Any], Any]
    needs: tuple[str, ...] = ()
    empty: int | None = 0
    over: str | None = None


@dataclass(frozen=True)
class Feature:
    """One account feature: its metadata, and `expr` over the frame of counts.

    `window` is in days (None: a level at T). `direction` is the sign of the effect on the risk of churn (0: not plain, so the
    model is left free). `phrase` is a noun phrase in English and in Finnish. `peers` asks for a second feature,
    `<name>_vs_peers`, whose `versus` names this one: where it stands against the median of the account's peers, from −1 to 1
    (`features.peers.relative_difference`).
    """

    name: str
    unit: str
    source: str
    window: int | None
    driver: Driver
    direction: Direction
    phrase: dict[str, str]
    expr: Callable[[Any], Any]
    peers: bool = False
    versus: str | None = None


def within(rows: Any, days: int, *, skip: int = 0) -> Any:
    """Whether a row lies in the window [T − skip − days, T − skip), in days."""
    recent = rows.age <= (skip + days) * DAY
    return recent & (rows.age > skip * DAY) if skip else recent


def fell_within(rows: Any, instant: str, days: int, *, skip: int = 0) -> Any:
    """Whether a later fact of a row, masked at T, has its instant in [T − skip − days, T − skip), in days."""
    recent = rows[instant] >= rows.as_of - (skip + days) * DAY
    return recent & (rows[instant] < rows.as_of - skip * DAY) if skip else recent


def unanswered_run(rows: Any, event: str, asked: Any, answered: Any) -> Any:
    """Whether a row that was asked stands after the account's last one that was answered."""
    last_answered = rows[event].max(where=asked & answered).over(ibis.window(group_by=rows.spine_id))
    return asked & (last_answered.isnull() | (rows[event] > last_answered))


def ratio(top: Any, bottom: Any) -> Any:
    """top / bottom as a float; null where the bottom is zero or null.

    >>> ratio(ibis.literal(1), ibis.literal(4)).execute()
    0.25
    """
    return top.cast("float64") / bottom.cast("float64").nullif(0.0)


def as_decimal(number: Any) -> Any:
    """A float as a decimal of the contract, halves away from zero; left to them, engines round halves each in its own way.

    >>> float(as_decimal(ibis.literal(2.0000005)).execute())
    2.000001
    """
    unit = float(10**DECIMAL_SCALE)
    return ((number * unit).round(0) / unit).cast(DECIMAL_TYPE)


def log_ratio(now: Any, before: Any) -> Any:
    """Natural log of (now + 1) / (before + 1): 0 = unchanged, defined at zero; a sum of corrections below zero counts as zero.

    >>> round(log_ratio(ibis.literal(0), ibis.literal(3)).execute(), 3)
    -1.386
    """
    return (_one_more(now) / _one_more(before)).ln()


def _one_more(count: Any) -> Any:
    return ibis.ifelse(count < 0, 0, count).cast("float64") + 1.0


def days(age: Any) -> Any:
    """An age in microseconds as days.

    >>> days(ibis.literal(DAY // 2)).execute()
    0.5
    """
    return age.cast("float64") / float(DAY)


def trend(counts: Any, now: Any, length: int, before: Any, longest: int) -> Any:
    """The last `length` days against as many of the up to `longest` days before; null: there are fewer than `length`."""
    there = days(counts.as_of - counts.first_started_at) - length
    there = ibis.ifelse(there >= length, ibis.least(there, longest), None)
    return log_ratio(now, before.cast("float64") * length / there)


def as_float(name: str) -> Callable[[Any], Any]:
    """Expression of a feature that is the count called `name`, as it is."""
    return lambda counts: counts[name].cast("float64")
