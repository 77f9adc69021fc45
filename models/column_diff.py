"""How the columns of a frame differ from those that a model reads, told so that a person finds the slip."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pandas as pd

#: So many columns are named in each part of a message.
_NAMED = 10


@dataclass(frozen=True)
class ColumnDiff:
    """What is wrong with a frame's columns; false where nothing is.

    `missing` are read by the model and not there; `unexpected` (name → the nearest known one, or None) are there and known to
    nobody; `not_numbers` (name → what it holds) cannot be read as numbers; `repeated` stand there more than once.
    """

    missing: tuple[str, ...]
    unexpected: dict[str, str | None]
    not_numbers: dict[str, str]
    repeated: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.missing or self.unexpected or self.not_numbers or self.repeated)

    def __str__(self) -> str:
        """The parts that are not empty, in one line."""
        near = [f"{name} (did you mean {known}?)" if known else name for name, known in self.unexpected.items()]
        parts = {
            "missing": self.missing,
            "unexpected": near,
            "not numbers": [f"{name} ({dtype})" for name, dtype in self.not_numbers.items()],
            "repeated": self.repeated,
        }
        return "; ".join(f"{part}: {_listed(names)}" for part, names in parts.items() if names)


def column_diff(frame: pd.DataFrame, needed: Sequence[str], known: Collection[str] = ()) -> ColumnDiff:
    """Compare the columns of a frame with those `needed`; others are expected only where they are `known`, and not looked into.

    >>> frame = pd.DataFrame({"seets": [5], "mrr": ["much"], "csm": ["Ann"]})
    >>> print(column_diff(frame, ["mrr", "seats", "tenure_days"], known=["csm"]))
    missing: seats, tenure_days; unexpected: seets (did you mean seats?); not numbers: mrr (str)
    >>> bool(column_diff(frame, ["seets"], known=["mrr", "csm"]))
    False
    """
    names = [str(name) for name in frame.columns]
    there = set(names)
    missing = tuple(name for name in needed if name not in there)
    wanted = {*needed, *known}
    unexpected = [name for name in dict.fromkeys(names) if name not in wanted]
    # A missing column is the likelier meaning; each name of a long list against each known one would take seconds.
    nearest = {name: _nearest(name, missing) or _nearest(name, sorted(wanted)) for name in unexpected[:_NAMED]}
    repeated = tuple(name for name in dict.fromkeys(names) if names.count(name) > 1)
    read = {*needed} - {*repeated}
    columns = {name: frame.iloc[:, place] for place, name in enumerate(names) if name in read}
    not_numbers = {name: str(column.dtype) for name, column in columns.items() if not _is_numeric(column)}
    return ColumnDiff(missing, dict.fromkeys(unexpected) | nearest, not_numbers, repeated)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) or bool(column.isna().all())


def _nearest(name: str, among: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(name, among, n=1, cutoff=0.75)), None)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
