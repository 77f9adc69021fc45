"""Scores made now from an account's stored history: the night's own code over those accounts (interface.md "HTTP")."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from models.sentences import Language
from serving.assessment import RiskMarks, ScoringSettings
from serving.company import CompanyTables
from serving.models_in_use import Bundle
from serving.scoring import score

_TICK = timedelta(microseconds=1)


class LateError(ValueError):
    """The instant lies after everything that is known."""


def latest(company: CompanyTables) -> datetime:
    """The latest instant that is spoken of: the end of the data, or just after the last event. LateError without either."""
    event = company.last_event
    known = [each for each in (company.data_until, event + _TICK if event else None) if each is not None]
    if not known:
        raise LateError("data.data_until is not set in kunto.toml, so as_of has no default; give one")
    return max(known)


def score_accounts(
    company: CompanyTables,
    bundle: Bundle[Any],
    settings: ScoringSettings,
    account_ids: Sequence[str],
    as_of: datetime | None,
    *,
    language: Language,
    config_version: str,
    marks: RiskMarks | None,
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return account id → record of those active and observed at `as_of` (None: the latest), and the ids that the source knows.

    `marks` are the portfolio's, for `disagreement`. Raises LateError for an instant after everything that is known, CompanyError
    where the source cannot be used.
    """
    end = latest(company)
    instant = as_of or end
    if instant > end:
        raise LateError(f"as_of is {instant.isoformat()}, and what is known reaches to {end.isoformat()}; give one up to it")
    versions = {"model": bundle.wording, "config": config_version, "data": company.fingerprint}
    with company.tables(instant) as tables:
        listed = tables["accounts"].filter(tables["accounts"].account_id.isin(list(account_ids)))
        known = set(listed.select("account_id").distinct().execute()["account_id"])
        if not known:
            return {}, known
        scored = score(
            tables,
            pd.Timestamp(instant),
            bundle.champions,
            replace(settings, language=language),
            versions=versions,
            account_ids=sorted(known),
            marks=marks,
        )
    return {record["account_id"]: record for record in scored.records}, known
