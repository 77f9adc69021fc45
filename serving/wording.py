"""Stored scores hold numbers; here they become sentences again, in the reader's language (domain.md §4, §8)."""

from collections.abc import Mapping
from typing import Any

from features.catalogue import Feature
from models.choice import NOTHING, why_of
from models.playbooks import load
from models.sentences import Language, sentence
from serving.store import Score


def worded(score: Score, catalogue: Mapping[str, Feature], *, language: Language, currency: str | None) -> dict[str, Any]:
    """Return a copy of a stored scored account with the sentences of its drivers and of its play.

    A driver whose feature the catalogue no longer has is left without a sentence (null), as is a play that is no longer in the
    catalogue: numbers of the past are never worded by today's guesses.
    """
    record = dict(score.record)
    if reasons := record.get("reasons"):
        record["reasons"] = {**reasons, "drivers": [_worded(driver, catalogue, language) for driver in reasons["drivers"]]}
    if play := record.get("play"):
        record["play"] = {**play, "why": _why(score, language, currency)}
    return record


def _worded(driver: Mapping[str, Any], catalogue: Mapping[str, Feature], language: Language) -> dict[str, Any]:
    feature = catalogue.get(driver["feature"])
    if feature is None:
        return {**driver, "text": None}
    value = float("nan") if driver["value"] is None else driver["value"]
    told = sentence(driver["driver"], driver["direction"], feature, value, driver["before"], driver["peers"], language)
    return {**driver, "text": told}


def _why(score: Score, language: Language, currency: str | None) -> str | None:
    books, ranking = load(), (score.candidates or [])[:2]
    if not ranking or any(each["name"] != NOTHING and each["name"] not in books for each in ranking):
        return None
    contributions = {driver["driver"]: driver["contribution"] for driver in score.record["reasons"]["drivers"]}
    money = None if score.record.get("arr") is None else currency
    return getattr(why_of(ranking, books, contributions, money), language)
