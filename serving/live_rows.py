"""Rows of features that a request brings: read into numbers, or refused, each by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from models.matrix import FloatArray

Features = Mapping[str, Any]
#: No feature of any account is larger than this in size.
LARGEST = 1e15
#: So many features of a row are named in an error; so many unknown ones of all rows are compared with every known one.
_NAMED, _COMPARED = 10, 20


@dataclass(frozen=True)
class RowError:
    """Why a row cannot be scored; `index` is its place among the rows given.

    `unknown`: name given → the nearest known one; `missing`: which of the `expected` columns that the models were fitted on have
    no value there, which by itself is no error.
    """

    index: int
    title: str
    detail: str
    unknown: dict[str, str | None]
    missing: list[str]
    expected: int


class RowReader:
    """Reads rows of `names`; `expected` are those that the models were fitted on."""

    def __init__(self, names: Sequence[str], expected: Sequence[str]):
        self._names, self._expected, self._known = tuple(names), tuple(expected), frozenset(names)

    def read(self, rows: Sequence[Features]) -> tuple[FloatArray, list[int], list[RowError]]:
        """Return the numbers of the rows that can be read (NaN: not known), the places of those rows, and the others' errors."""
        values = np.empty((len(rows), len(self._names)))
        good, errors, compared = [], [], 0
        for index, row in enumerate(rows):
            if row.keys() <= self._known and all(map(_is_number, row.values())) and (row.get("mrr") or 0.0) >= 0:
                values[index] = [row.get(name) for name in self._names]
                if not np.isnan(values[index]).all():
                    good.append(index)
                    continue
            errors.append(self._error(index, row, _COMPARED - compared))
            compared += len(errors[-1].unknown)
        return values[good], good, errors

    def _error(self, index: int, row: Features, compared: int) -> RowError:
        unknown = [name for name in row if name not in self._known]
        nearest = {name: self._nearest(name) if place < compared else None for place, name in enumerate(unknown[:_NAMED])}
        missing = [name for name in self._expected if row.get(name) is None]
        title, detail = self._told(row, unknown, nearest)
        return RowError(index, title, detail, nearest, missing, len(self._expected))

    def _told(self, row: Features, unknown: list[str], nearest: Mapping[str, str | None]) -> tuple[str, str]:
        """What is wrong with the row, the first of what may be."""
        if unknown:
            named = [f"{name!r} (did you mean {near!r}?)" if near else repr(name) for name, near in nearest.items()]
            return "Unknown features", (
                f"{_listed(named, len(unknown))}: no feature of the catalogue, which has {len(self._names)}; "
                "name features as docs/features.md does, and leave out what is none"
            )
        odd = [f"{name} is {_short(value)}" for name, value in row.items() if not _is_number(value)]
        if odd:
            return "Not a number", (
                f"{_listed(odd[:_NAMED], len(odd))}; give a number from {-LARGEST:g} to {LARGEST:g} (0 or 1 for no or yes), "
                "or null where it is not known"
            )
        if (row.get("mrr") or 0.0) < 0:
            return "Negative revenue", f"mrr is {_short(row['mrr'])}; give the monthly recurring revenue, 0 or more"
        return "Nothing known", (
            f"none of the {len(self._names)} features of the catalogue has a value; give at least one, "
            f"best those that the models were fitted on, such as {', '.join(self._expected[:3])}"
        )

    def _nearest(self, name: str) -> str | None:
        return next(iter(get_close_matches(name, self._names, n=1)), None)


def _is_number(value: Any) -> bool:
    """Whether it is a number that a feature can have, or not known (None, NaN)."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and (-LARGEST <= value <= LARGEST or value != value)


def _listed(named: Sequence[str], count: int) -> str:
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
