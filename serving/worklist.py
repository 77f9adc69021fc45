"""What to do next: the plays that are worth most, fitted to the time there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from models.playbooks import Playbook, load
from models.sentences import Language
from serving.store import Line

#: Time is shared out in steps of a quarter of an hour.
_STEP_HOURS = 0.25


@dataclass(frozen=True)
class Work:
    """An account and the playbook chosen for it."""

    line: Line
    playbook: Playbook

    @property
    def value(self) -> float:
        """Expected value over 90 days (domain.md §8)."""
        return self.line.expected_value or 0.0


def work(lines: Sequence[Line], running: frozenset[tuple[str, str]] = frozenset()) -> list[Work]:
    """The lines whose play can be started, in their order: playbooks that are no longer in the catalogue are left out, as are
    plays (account_id, playbook) that run already."""
    books = load()
    return [
        Work(line, books[line.playbook])
        for line in lines
        if line.playbook in books and (line.account_id, line.playbook) not in running
    ]


def fitted(todo: Sequence[Work], hours: float) -> list[Work]:
    """The plays of the largest total value whose hours fit, in the order given: an exact 0/1 knapsack over quarters of an hour.

    A play's hours are rounded up to the quarter.

    >>> book = load()["rescue_plan"]
    >>> def worth(value, hours):
    ...     return Work(Line("a", *[None] * 12, value), book.model_copy(update={"hours": hours}))
    >>> [each.value for each in fitted([worth(9.0, 4.0), worth(5.0, 2.0), worth(5.0, 2.0)], 4.0)]
    [5.0, 5.0]
    """
    room = int(hours / _STEP_HOURS)
    costs = [-int(-each.playbook.hours // _STEP_HOURS) for each in todo]
    best = np.zeros(room + 1)
    taken = np.zeros((len(todo), room + 1), dtype=bool)
    for number, (each, cost) in enumerate(zip(todo, costs, strict=True)):
        if cost > room:
            continue
        with_it = np.full(room + 1, -np.inf)
        with_it[cost:] = best[: room + 1 - cost] + each.value
        taken[number] = with_it > best
        best = np.maximum(best, with_it)
    chosen, left = [], room
    for number in reversed(range(len(todo))):
        if taken[number, left]:
            chosen.append(todo[number])
            left -= costs[number]
    return chosen[::-1]


def first_step(playbook: Playbook, as_of: datetime, language: Language) -> dict[str, Any] | None:
    """The play's first step with its day, if it were started on the score's day."""
    if not playbook.steps:
        return None
    step = min(playbook.steps, key=lambda each: each.day)
    return {
        "what": getattr(step.what, language),
        "who": step.who,
        "channel": step.channel,
        "due": (as_of.date() + timedelta(days=max(step.day, 0))).isoformat(),
        "automatic": step.automatic,
    }
