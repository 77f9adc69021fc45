"""A score computed again, from what it was computed from and by the registered models that it names (domain.md §4)."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from models.choice import PlaySettings
from models.matrix import Matrix
from models.registry import versions
from models.stakes import YEAR_MONTHS
from serving.champions import Champions, load_versions
from serving.outlook import Outlook, outlook
from serving.store import Score, Store, StoreError
from serving.store.inputs import ScoreInputs
from serving.store.instants import utc

Instant = datetime | date | str
_DAY = timedelta(days=1)


class ReplayError(StoreError):
    """The score cannot be computed again: it is not there, or nothing is kept of what it was computed from."""


def replay(
    store: Store,
    tracking_uri: str,
    account_id: str,
    *,
    run_id: str | None = None,
    as_of: Instant | None = None,
    known_at: Instant | None = None,
) -> list[dict[str, Any]] | None:
    """Return the predictions of the score that stands (or of the run given), computed again: as in its record, to 1e-9.

    None where the record has none: no model served, or notice stood. Where the champions point now does not matter. Raises
    UnknownAccountError, ReplayError, and what `load_versions` raises for a version that is no longer registered.
    """
    kept = store.inputs.read(account_id, run_id=run_id, as_of=as_of, known_at=known_at)
    if kept is None:
        raise ReplayError(
            f"of account {account_id!r} there is no such score, or its inputs are not kept",
            store.where,
            "Ask for a score of a run that kept its inputs.",
        )
    record = _score(store, account_id, kept).record
    named = versions(record["versions"]["model"])
    return predictions(load_versions(tracking_uri, named), kept) if named and not record["leaving"] else None


def predictions(champions: Champions, kept: ScoreInputs) -> list[dict[str, Any]] | None:
    """Return what these models say of what was kept; None where no churn model is among them."""
    ahead = _ahead(champions, kept)
    return None if ahead is None else ahead.records()[0]


def stakes(champions: Champions, kept: ScoreInputs, settings: PlaySettings) -> dict[str, Any] | None:
    """Return what these models say is at stake, as the record has it (`Outlook.stakes`); None as in `predictions`.

    `settings` are those of the configuration that the score names: margin and discount are no part of what was kept.
    """
    ahead, mrr = _ahead(champions, kept), kept.facts["mrr"]
    return None if ahead is None else ahead.stakes(np.array([np.nan if mrr is None else mrr * YEAR_MONTHS]), settings)[0]


def _ahead(champions: Champions, kept: ScoreInputs) -> Outlook | None:
    values = np.array([list(kept.features.values())], dtype=np.float64)  # None becomes NaN
    renewal_at = kept.facts["renewal_at"]
    renewal_days = np.array([np.nan if renewal_at is None else (utc(renewal_at) - kept.as_of) / _DAY])
    return outlook(champions, Matrix(tuple(kept.features), values), renewal_days)


def _score(store: Store, account_id: str, kept: ScoreInputs) -> Score:
    return next(score for score in store.scores(account_id) if (score.run_id, score.as_of) == (kept.run_id, kept.as_of))
