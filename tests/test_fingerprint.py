"""The fingerprint of the data: equal for equal rows in any order, another for any change."""

from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from training.tracking import fingerprint

CELLS = pd.DataFrame(
    {
        "account_id": ["a", "b", "b", "c"],
        "text": ["x", "xy", "xy", None],
        "more": ["yz", "z", "z", "\\0"],
        "amount": [1.5, 2.0, 2.0, np.nan],
        "count": [1, 2, 2, 3],
        "flag": [True, False, False, True],
        "at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-02", None]).astype("datetime64[us]"),
    }
)


def digest(frame: pd.DataFrame) -> str:
    return fingerprint({"table": ibis.memtable(frame)})


def test_the_order_of_rows_columns_and_tables_is_no_difference() -> None:
    assert digest(CELLS.iloc[[2, 0, 3, 1]]) == digest(CELLS)
    assert digest(CELLS[CELLS.columns[::-1]]) == digest(CELLS)
    one, other = ibis.memtable(CELLS), ibis.memtable(CELLS.iloc[:2])
    assert fingerprint({"a": one, "b": other}) == fingerprint({"b": other, "a": one}) != fingerprint({"a": other, "b": one})


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("account_id", 0, "A"),
        ("text", 3, ""),
        ("more", 3, None),
        ("amount", 0, 1.500001),
        ("amount", 3, 0.0),
        ("count", 1, 3),
        ("flag", 0, False),
        ("at", 0, pd.Timestamp("2026-01-01 00:00:00.000001")),
        ("at", 3, pd.Timestamp("2026-01-01")),
    ],
)
def test_one_changed_cell_is_a_difference(column: str, row: int, value: Any) -> None:
    changed = CELLS.copy()
    changed.loc[row, column] = value
    assert digest(changed.astype(CELLS.dtypes)) != digest(CELLS)


def test_what_an_exclusive_or_or_a_plain_concatenation_would_miss_is_a_difference() -> None:
    twice = CELLS.copy()
    twice.loc[[1, 2], "text"] = "other"  # equal rows that change alike
    shifted = CELLS.copy()
    shifted.loc[0, ["more", "text"]] = ["y", "zx"]  # the same letters, cut elsewhere
    renamed = CELLS.rename(columns={"text": "texts"})
    swapped = CELLS.rename(columns={"text": "more", "more": "text"})
    fewer = CELLS.drop(index=[1, 2])
    found = [digest(frame) for frame in (CELLS, twice, shifted, renamed, swapped, fewer)]
    assert len(set(found)) == len(found)
