"""A task's rows in time: those known before the test, the test's own, and all that has matured since (domain.md §2 "Labels")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from training.dataset import Dataset, snapshot_dates, test_period
from training.exposure import Plays
from training.rows import Positions, Rows, labelled_rows
from training.settings import Task, TrainingSettings


@dataclass(frozen=True)
class Period:
    """`known`: rows by what was known at `start`; `test`: start ≤ T < end, by what is known today; `later`: all, by today.

    `known_at` and `test_at` are positions in the dataset. `known` and `later` hold rows that are censored, `test` none.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    known: Rows
    known_at: Positions
    test: Rows
    test_at: Positions
    later: Rows

    def fittable(self) -> bool:
        """Whether both labels occur in training, on more accounts than one, and there is something to test."""
        seen = self.known.labelled()
        both = bool(seen.y.any()) and not bool(seen.y.all())
        return both and len(set(seen.accounts)) > 1 and len(self.test) > 0


def period(
    tables: Mapping[str, Any], data: Dataset, task: Task, *, data_until: pd.Timestamp, settings: TrainingSettings, plays: Plays
) -> Period:
    """Cut the dataset of one task in time; rows are labelled as they were known then, and as they are today."""
    dates = snapshot_dates(data.spine["as_of"].min(), data_until, settings)
    start, end = test_period(dates, data_until, task.horizon_days, settings)
    known, known_at = labelled_rows(tables, data, task, min(start, data_until), settings, plays)
    later, later_at = labelled_rows(tables, data, task, data_until, settings, plays)
    tested = (later.timeline["as_of"] >= start) & (later.timeline["as_of"] < end)
    inside = tested.to_numpy(dtype=bool) & ~np.isnan(later.y)
    return Period(start, end, known, known_at, later.take(inside), later_at[inside], later)
