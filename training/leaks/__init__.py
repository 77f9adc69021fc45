"""The leak audit before each training: what predicts too well, knows the date, changed after the fact, or lies past the data.

`audit` finds, `refuse` stops: nothing is left out of training by itself, and nothing suspicious goes in unless allowed by name.
Labels are read of training rows only; of later dates, who was there and what the sources hold.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from training.dataset import Dataset
from training.leaks.ends import late_rows, stopped_tables, unsettled_labels
from training.leaks.leak import Leak, LeakError, refuse
from training.leaks.overwritten import Presence, moved_renewals, vanished_value
from training.leaks.rebuilt import changed_features
from training.leaks.strength import Asked, Graded, too_good
from training.leaks.timing import knows_the_date
from training.rows import Rows
from training.settings import Task, TrainingSettings

__all__ = ["Leak", "LeakError", "audit", "refuse"]


def audit(
    tables: Mapping[str, Any],
    data: Dataset,
    labelled: Mapping[Task, Rows],
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
) -> list[Leak]:
    """Return every sign that training would read the future, each feature at most once per kind.

    `labelled` holds the training rows of each model whose label is known (`Rows.labelled`); they must be rows of `data`, else
    ValueError. `tables` are the contract's.
    """
    asked = [asked for task, rows in labelled.items() if (asked := _asked(data, task, rows)).judgeable]
    found = [*_past_the_data(tables, data, labelled, data_until, settings)]
    moved = moved_renewals(tables["subscriptions"])
    found += [moved] if moved is not None else []
    found += changed_features(tables, data)
    changed = {leak.name for leak in found}
    presence = Presence.of(data.spine)
    for name in data.frame.columns:
        feature = Graded.of(name, data.frame[name])
        found += [leak for one in asked if (leak := too_good(feature, one)) is not None][:1]
        overwritten = vanished_value(feature, presence)
        if overwritten is not None and name not in changed:
            found.append(overwritten)
    churn = next(((task, rows) for task, rows in labelled.items() if task.outcome == "churn"), None)
    if churn is not None:
        found += knows_the_date(churn[1].frame, churn[1].timeline, churn[0].name)
    return found


def _past_the_data(
    tables: Mapping[str, Any],
    data: Dataset,
    labelled: Mapping[Task, Rows],
    data_until: pd.Timestamp,
    settings: TrainingSettings,
) -> list[Leak]:
    settled = data_until - pd.Timedelta(days=settings.grace)
    windows = (unsettled_labels(rows.timeline, task.name, task.horizon_days, settled) for task, rows in labelled.items())
    single = [late_rows(data.spine, data_until), *windows]
    return [*(leak for leak in single if leak is not None), *stopped_tables(tables, data.spine, data_until)]


def _asked(data: Dataset, task: Task, rows: Rows) -> Asked:
    """Find a model's training rows in the dataset."""
    key = ["account_id", "as_of"]
    at = pd.MultiIndex.from_frame(data.spine[key]).get_indexer(pd.MultiIndex.from_frame(rows.timeline[key]))
    if (at < 0).any():
        lost = rows.timeline.iloc[int(np.argmax(at < 0))]
        raise ValueError(
            f"labelled[{task.name}] has a row of account {lost['account_id']} at {lost['as_of']} that is not in data: "
            "label rows of this dataset"
        )
    return Asked(task.name, at, rows.y, pd.factorize(rows.timeline["account_id"])[0])
