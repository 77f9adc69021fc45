"""Scoring of features that a request brings, and what-if: no table is read, and the rule is a portfolio's (interface.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np

from features.catalogue import catalog
from models.explain import driver_totals
from models.health import Connected
from models.matrix import FloatArray, Matrix
from models.registry import worded
from models.scorecard import default_scorecard
from models.sentences import LANGUAGES, Language
from models.stakes import YEAR_MONTHS
from serving.assessment import Accounts, Assessment, RiskMarks, ScoringSettings, assess, product_features
from serving.champions import Champions
from serving.live_rows import Features, RowError, RowReader
from serving.outlook import Instants
from serving.self_test import SelfTestError, probe
from serving.store.instants import utc

__all__ = ["LiveScorer", "RiskMarks", "RowError"]

Facts = Mapping[str, Any]
Instant = datetime | date | str
#: `versions.data` of what no table was read for.
INLINE = "inline"
#: A date is told where a calendar has it.
_FIRST, _LAST, _FARTHEST_DAYS = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31", "us"), 1e6
_DAY_MICROS = 86_400e6


class LiveScorer:
    """Scores rows of features with one set of champions; made once for them, and used by any number of threads.

    `catalogue` holds every feature that a row may give. `marks` are those of the last whole portfolio, and may be exchanged when
    there is a newer one; without them there is no disagreement.
    """

    def __init__(
        self,
        champions: Champions,
        settings: ScoringSettings,
        *,
        config_version: str | None = None,
        marks: RiskMarks | None = None,
    ):
        self.catalogue = catalog(product_features(champions))
        self.marks = marks
        self._champions, self._settings = champions, settings
        self._versions = {"model": worded(champions.versions), "config": config_version, "data": INLINE}
        self._names = tuple(self.catalogue)
        fitted = {name for champion in champions.models.values() for name in champion.model.inputs}
        fitted = fitted or {measure.feature for measure in default_scorecard().measures}
        self._reader = RowReader(self._names, [name for name in self._names if name in fitted])
        self._tables = tuple(sorted({feature.source for feature in self.catalogue.values()}))
        sources = [[feature.source == table for table in self._tables] for feature in self.catalogue.values()]
        self._source_of = np.array(sources, dtype=np.bool_)

    def score(
        self,
        rows: Sequence[Features],
        as_of: Instant,
        *,
        language: Language | None = None,
        account_ids: Sequence[str | None] | None = None,
        facts: Sequence[Facts | None] | None = None,
    ) -> tuple[list[dict[str, Any]], list[RowError]]:
        """Return the record of each row that can be scored, in their order, and an error for each of the others.

        A row names features and gives their numbers; what it does not give, or gives as None, is not known. A table none of whose
        features is given counts as not connected. `facts` may say `leaving`, `strategic` and `parent_account_id`. A row with an
        account id comes from the store: features that the models of today do not know are left out of it.
        """
        ids = [None] * len(rows) if account_ids is None else list(account_ids)
        asked = [row if account_id is None else self._of_today(row) for row, account_id in zip(rows, ids, strict=True)]
        values, good, errors = self._reader.read(asked)
        if not good:
            return [], errors
        known = [(facts[index] if facts else None) or {} for index in good]
        return self._assess(values, utc(as_of), [ids[index] for index in good], known, language).records, errors

    def what_if(
        self,
        features: Features,
        facts: Facts,
        changes: Features,
        as_of: Instant,
        *,
        account_id: str | None = None,
        language: Language | None = None,
    ) -> tuple[dict[str, Any] | None, RowError | None]:
        """Return {before, after, difference} of an account and of the same account with some features changed, or an error.

        `features` and `facts` come from the store. Nothing but what `changes` names is changed: what hangs together, such as a
        feature and its comparison with peers, is changed together by whoever asks. `difference` is after − before; of the drivers
        it holds those that changed, the largest change first, with all their features summed.
        """
        stored = self._of_today(features)
        values, _, errors = self._reader.read([stored, {**stored, **changes}])
        if errors:
            return None, errors[0]
        found = self._assess(values, utc(as_of), [account_id] * 2, [facts] * 2, language)
        before, after = found.records
        return {"before": before, "after": after, "difference": self._difference(found)}, None

    def self_test(self) -> None:
        """Score made-up rows in each language; SelfTestError where one fails, ValueError where one is no JSON."""
        made_up = probe(self._names).to_numpy()[1:].tolist()  # of the first nothing is known
        rows = [dict(zip(self._names, row, strict=True)) for row in made_up]
        for language in LANGUAGES:
            records, errors = self.score(rows, "2026-01-01", language=language)
            if errors:
                raise SelfTestError(f"a made-up row cannot be scored: {errors[0].detail}")
            json.dumps(records, allow_nan=False)

    def _of_today(self, row: Features) -> Features:
        return row if row.keys() <= self.catalogue.keys() else {name: row[name] for name in row if name in self.catalogue}

    def _assess(
        self,
        values: FloatArray,
        as_of: datetime,
        ids: Sequence[str | None],
        facts: Sequence[Facts],
        language: Language | None,
    ) -> Assessment:
        rows, features = len(values), Matrix(self._names, values)
        noticed = np.array([bool(fact.get("leaving")) for fact in facts])
        mrr, renewal, notice = (
            features.values[:, self._names.index(name)] for name in ("mrr", "days_to_renewal", "days_to_notice_deadline")
        )
        accounts = Accounts(
            as_of,
            ids,
            features,
            Connected(self._tables, ~np.isnan(values) @ self._source_of),
            noticed & self._settings.notice_is_leaving,
            mrr * YEAR_MONTHS,
            _after(as_of, renewal),
            _after(as_of, notice),
            names=[None] * rows,
            csms=[None] * rows,
            parents=[fact.get("parent_account_id") for fact in facts],
            strategic=[bool(fact.get("strategic")) for fact in facts],
        )
        settings = replace(self._settings, language=language or self._settings.language)
        return assess(accounts, self._champions, settings, versions=self._versions, marks=self.marks)

    def _difference(self, found: Assessment) -> dict[str, Any]:
        before, after = found.records
        drivers = []
        for driver, (was, becomes) in driver_totals(found.explanation, self.catalogue).items():
            if becomes != was:
                drivers.append({"driver": driver, "before": float(was), "after": float(becomes), "change": float(becomes - was)})
        predictions = None
        if before["predictions"] is not None:
            pairs = zip(before["predictions"], after["predictions"], strict=True)
            predictions = [_change(was, becomes) for was, becomes in pairs]
        return {
            "health_score": _minus(after["health"]["score"], before["health"]["score"]),
            "predictions": predictions,
            "arr_at_risk": _minus(after["arr_at_risk"], before["arr_at_risk"]),
            "expected_lifetime_value": _minus(after["expected_lifetime_value"], before["expected_lifetime_value"]),
            "drivers": sorted(drivers, key=lambda each: (-abs(each["change"]), each["driver"])),
            "play": {
                "before": before["play"]["name"],
                "after": after["play"]["name"],
                "expected_value": after["play"]["expected_value"] - before["play"]["expected_value"],
            },
        }


def _change(was: Mapping[str, Any], becomes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcome": was["outcome"],
        "horizon_days": was["horizon_days"],
        "before": was["probability"],
        "after": becomes["probability"],
        "change": becomes["probability"] - was["probability"],
    }


def _minus(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _after(as_of: datetime, days: FloatArray) -> Instants:
    """The instants so many days after T, to the microsecond; NaT where that is not known or no calendar has it."""
    known = np.abs(days) <= _FARTHEST_DAYS
    micros = np.where(known, np.round(days * _DAY_MICROS), 0.0)
    found: Instants = np.datetime64(as_of, "us") + micros.astype(np.int64).astype("timedelta64[us]")
    found[~known | (found < _FIRST) | (found > _LAST)] = np.datetime64("NaT")
    return found
