"""Features as one matrix of numbers, which costs a single account far less to read than a frame does."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
#: What says whose row it is, and of when: no feature.
KEY = ("account_id", "as_of")


@dataclass(frozen=True)
class Matrix:
    """`values` (rows × names), float64 in C order, NaN = missing; never written to."""

    names: tuple[str, ...]
    values: FloatArray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Matrix":
        """Return every column of a frame of features but those that say whose row it is.

        >>> Matrix.of(pd.DataFrame({"account_id": ["a"], "seats": [5]}))
        Matrix(names=('seats',), values=array([[5.]]))
        """
        names = tuple(str(name) for name in frame.columns if name not in KEY)
        return cls(names, np.ascontiguousarray(frame[list(names)].to_numpy(dtype=np.float64)))

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.values)


#: What every model reads: features in whatever order, and perhaps others besides.
Table = pd.DataFrame | Matrix


def check_columns(table: Table, columns: Sequence[str]) -> None:
    """Raise a ValueError with the difference where the table lacks a column that the model was fitted on.

    >>> check_columns(pd.DataFrame({"seats": [1.0]}), ["mrr", "seats"])
    Traceback (most recent call last):
    ValueError: the frame lacks mrr; the model was fitted on 2 columns: build them with features.build, or retrain
    """
    there = table.columns if isinstance(table, pd.DataFrame) else set(table.names)
    lacking = [column for column in columns if column not in there]
    if lacking:
        raise ValueError(
            f"the frame lacks {', '.join(lacking[:10])}{' …' if len(lacking) > 10 else ''}; the model was fitted on "
            f"{len(columns)} columns: build them with features.build, or retrain"
        )


def values_of(table: Table, columns: tuple[str, ...]) -> FloatArray:
    """Return the columns (rows × columns); ValueError as `check_columns`, or where one is no number."""
    if isinstance(table, pd.DataFrame):
        check_columns(table, columns)
        return _of_frame(table[list(columns)])
    if table.names == columns:
        return table.values
    places = positions(table.names, columns)
    if places.min(initial=0) < 0:
        check_columns(table, columns)
    return table.values.take(places, axis=1)


def known_values_of(table: Table, columns: tuple[str, ...]) -> FloatArray:
    """Return the columns (rows × columns), NaN in those that the table lacks.

    >>> known_values_of(pd.DataFrame({"seats": [1.0]}), ("mrr", "seats")).tolist()
    [[nan, 1.0]]
    """
    names = tuple(table.columns) if isinstance(table, pd.DataFrame) else table.names
    there = positions(names, columns) >= 0
    if there.all():
        return values_of(table, columns)
    found = np.full((len(table), len(columns)), np.nan)
    found[:, there] = values_of(table, tuple(compress(columns, there)))
    return found


def _of_frame(frame: pd.DataFrame) -> FloatArray:
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if not (pd.api.types.is_numeric_dtype(dtype) or frame[column].isna().all()):
            raise ValueError(f"column {column!r} is of type {dtype}; turn it into numbers, nan where unknown")
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


@lru_cache(maxsize=256)
def positions(names: tuple[str, ...], wanted: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Return where each wanted name stands among `names`; −1 where it does not.

    >>> positions(("a", "b"), ("b", "c")).tolist()
    [1, -1]
    """
    places = _places(names)
    found = np.array([places.get(name, -1) for name in wanted], dtype=np.intp)
    found.flags.writeable = False
    return found


@lru_cache(maxsize=256)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}
