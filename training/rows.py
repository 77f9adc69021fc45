"""The labelled rows of one task: what was known at T, what came of it, and which plays were begun meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.hazard import step_count, step_length
from models.labels import outcome_labels, timeline
from training.dataset import Dataset
from training.exposure import Exposure, Plays
from training.settings import Task, TrainingSettings

FloatArray = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
#: Parts into which the accounts are cut to calibrate, and to find how long to boost.
FOLDS = 4


@dataclass(frozen=True)
class Rows:
    """Rows of one task, all in one order: features, timeline (churn_at, known_until), label, MRR change, plays.

    `y` is 0, 1, or nan where the horizon is still open: such a row is no positive and no negative, but a hazard learns from its
    steps that are over. `exposure`: the plays begun meanwhile; None: no play is known.
    """

    frame: pd.DataFrame
    timeline: pd.DataFrame
    y: FloatArray
    change: FloatArray
    exposure: Exposure | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.y)

    @property
    def accounts(self) -> npt.NDArray[np.object_]:
        """Account of each row."""
        return self.timeline["account_id"].to_numpy(dtype=object)

    @property
    def as_of(self) -> npt.NDArray[np.datetime64]:
        """T of each row."""
        return self.timeline["as_of"].to_numpy().astype("datetime64[us]")

    def positive_accounts(self) -> int:
        """How many accounts have the outcome in some row."""
        return len(set(self.accounts[self.y > 0]))

    def labelled(self) -> "Rows":
        """The rows whose label is known."""
        known = ~np.isnan(self.y)
        return self if known.all() else self.take(known)

    def take(self, where: npt.NDArray[np.bool_] | Positions) -> "Rows":
        """The rows at a mask or at positions."""
        at: Positions = np.flatnonzero(where) if where.dtype == bool else where.astype(np.intp, copy=False)
        return Rows(
            self.frame.iloc[at].reset_index(drop=True),
            self.timeline.iloc[at].reset_index(drop=True),
            self.y[at],
            self.change[at],
            None if self.exposure is None else self.exposure.take(at),
        )


def account_folds(rows: Rows) -> list[tuple[Positions, Positions]]:
    """Return positions (fitted on, held out) of folds that keep an account's rows together and spread the positive accounts."""
    codes, accounts = pd.factorize(rows.accounts, sort=True)
    positive = np.zeros(len(accounts))
    np.maximum.at(positive, codes, np.nan_to_num(rows.y))
    fold = np.empty(len(accounts), dtype=int)
    fold[np.argsort(positive, kind="stable")] = np.arange(len(accounts)) % FOLDS
    held = [fold[codes] == part for part in range(min(FOLDS, len(accounts)))]
    return [(np.flatnonzero(~out), np.flatnonzero(out)) for out in held]


def calibration_parts(rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield (fitted on, calibrated on) of `account_folds`."""
    for kept, held in account_folds(rows):
        yield rows.take(kept), rows.take(held)


def labelled_rows(
    tables: Mapping[str, Any], data: Dataset, task: Task, until: pd.Timestamp, settings: TrainingSettings, plays: Plays
) -> tuple[Rows, Positions]:
    """Rows by what is known at `until`, and their positions in the dataset.

    Of churn also those of which only the first steps are over (y is nan); of the others those with a label alone.
    """
    facts: dict[str, Any] = {
        "data_until": until,
        "accounts": tables["accounts"],
        "grace_days": settings.grace,
        "event": settings.event,
        "fx": tables.get("fx"),
    }
    at_horizon = timeline(tables["subscriptions"], data.spine, horizon_days=task.horizon_days, **facts)
    labels = outcome_labels(at_horizon, task.outcome, task.horizon_days)["label"]
    found, has = at_horizon, labels.notna().to_numpy(dtype=bool)
    step_days = step_length(task.horizon_days)
    if task.outcome == "churn":
        # The hazard looks as far as anything is settled, not to the horizon.
        found = timeline(tables["subscriptions"], data.spine, **facts)
        first_step = found["as_of"] + pd.Timedelta(days=step_days) <= found["known_until"]
        has = has | (found["at_risk"] & first_step).to_numpy(dtype=bool)
    at = np.flatnonzero(has)
    mrr, later = (at_horizon[name].astype("float64").to_numpy()[at] for name in ("mrr", "mrr_at_horizon"))
    known = found.iloc[at].reset_index(drop=True)
    spans = [step_days * k for k in range(step_count(step_days) + 1)] if task.outcome == "churn" else [task.horizon_days]
    rows = Rows(
        data.frame.iloc[at].reset_index(drop=True),
        known,
        labels.to_numpy(dtype="float64", na_value=np.nan)[at],
        np.divide(later - mrr, mrr, out=np.zeros(len(at)), where=mrr > 0),
        plays.exposure(known["account_id"], known["as_of"], spans),
    )
    return rows, at
