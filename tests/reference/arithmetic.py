"""Shares, means, windows and trends, as domain.md says them: NaN is "not known"."""

import math
from collections.abc import Iterable

import numpy as np

Found = dict[str, float]


def share(top: float, bottom: float) -> float:
    """top / bottom, NaN where the bottom is zero."""
    return top / bottom if bottom else math.nan


def mean(values: np.ndarray) -> float:
    """The mean, NaN of nothing."""
    return share(values.sum(), len(values))


def total(values: np.ndarray) -> float:
    """The sum of what is given."""
    return float(values[~np.isnan(values)].sum())


def largest(values: np.ndarray, otherwise: float = math.nan) -> float:
    """The largest of what is given."""
    return max(values[~np.isnan(values)], default=otherwise)


def smallest(values: np.ndarray, otherwise: float = math.nan) -> float:
    """The smallest of what is given."""
    return min(values[~np.isnan(values)], default=otherwise)


def distinct(values: np.ndarray) -> int:
    """How many different texts are given."""
    return len(set(values) - {None})


def given(values: np.ndarray) -> np.ndarray:
    """Which texts are given."""
    return np.array([value is not None for value in values], dtype=bool)


def among(values: np.ndarray, allowed: Iterable[str]) -> np.ndarray:
    """Which texts are among the allowed."""
    return np.array([value in allowed for value in values], dtype=bool)


def within(ago: np.ndarray, length: int, skip: int = 0) -> np.ndarray:
    """Which instants lie in [T − skip − length, T − skip), of instants in days before T."""
    return (skip < ago) & (ago <= skip + length)


def log_ratio(now: float, before: float) -> float:
    """Change of a count as a log ratio; corrections cannot make it less than none."""
    return math.log((max(now, 0) + 1) / (max(before, 0) + 1))


def against(now: float, length: int, before: float, longest: int, tenure: float) -> float:
    """The last days against as many of the up to `longest` before that the account was there; unknown with fewer than as many."""
    there = min(tenure - length, longest)
    return log_ratio(now, before * length / there) if there >= length else math.nan


def unanswered_run(asked_ago: np.ndarray, answered: np.ndarray) -> int:
    """How many of those asked stand after the last one that was answered."""
    last = smallest(asked_ago[answered], math.inf)
    return int((asked_ago < last).sum())
