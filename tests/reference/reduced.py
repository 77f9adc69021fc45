"""A failing history made small, and shown so that it can be run again."""

from collections.abc import Callable

from reference.histories import History
from reference.shapes import Shape


def reduced(history: History, failing: Callable[[list[History]], set[int | None]]) -> History:
    """Return a history with rows left out that still fails; `failing` says which of several do, in one call."""
    rows = [(table, row) for table, found in history.items() for row in found]
    size = max(len(rows) // 2, 1)
    while size:
        # The first rate stays: without it a currency cannot be read.
        choices = [rows[:first] + rows[first + size :] for first in range(0, len(rows), size)]
        fails = failing([_history(history, choice) for choice in choices])
        smaller = next((choice for number, choice in enumerate(choices) if number in fails), None)
        rows, size = (rows, size // 2) if smaller is None else (smaller, size)
    return _history(history, rows)


def _history(of: History, rows: list) -> History:
    kept = {id(row) for _, row in rows}
    return {
        table: [row for number, row in enumerate(found) if id(row) in kept or (table == "fx" and number == 0)]
        for table, found in of.items()
    }


def shown(history: History, shape: Shape) -> str:
    """Return the history as text: the rows that there are, with what they say."""
    lines = [repr(shape)]
    for table, rows in history.items():
        lines += [
            f"{table}: " + ", ".join(f"{name}={value!r}" for name, value in row.items() if value is not None) for row in rows
        ]
    return "\n".join(lines)
