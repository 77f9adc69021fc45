"""What is told of an account: its worded score with whom to call, and everything that hangs on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from features.catalogue import Feature
from models.playbooks import load
from models.sentences import Language
from serving.portfolio import Portfolio
from serving.store import Score, Store, UnknownAccountError
from serving.store.play_records import Play


def scored(store: Store, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records with whom to call, as known now: contacts are no part of history, so that a person can be erased."""
    people = store.contacts.of_all([record["account_id"] for record in records])
    return [{**record, "contacts": people.get(record["account_id"], [])} for record in records]


def stored(
    store: Store, portfolio: Portfolio, score: Score, catalogue: Mapping[str, Feature], language: Language
) -> dict[str, Any]:
    """A score out of history, worded, with when it was made and known."""
    [record] = scored(store, [portfolio.worded(score, catalogue, language)])
    return {"run_id": score.run_id, "scored_at": score.scored_at, "known_at": score.known_at, "score": record}


def play_record(play: Play, language: Language) -> dict[str, Any]:
    """A play as people and machines read it: its title and steps in the reader's language."""
    book = load().get(play.playbook)
    steps = [{**asdict(step), "what": getattr(step.what, language)} for step in play.steps]
    return {**vars(play), "title": getattr(book.title, language) if book else None, "steps": steps}


def picture(
    store: Store,
    portfolio: Portfolio,
    account_id: str,
    as_of: datetime | None,
    known_at: datetime | None,
    catalogue: Mapping[str, Feature],
    language: Language,
) -> dict[str, Any]:
    """The account's whole picture as it stands, or stood at those times; UnknownAccountError before its first score."""
    history = store.scores(account_id)
    standing = history[-1:] if as_of is None and known_at is None else store.scores(account_id, as_of=as_of, known_at=known_at)
    if not standing:
        raise UnknownAccountError(account_id, store.where)
    [score] = standing
    [record] = scored(store, [portfolio.worded(score, catalogue, language)])
    manual = store.feedback.manual_score(account_id)
    return {
        "score": record,
        "known_at": score.known_at,
        "candidates": score.candidates or [],
        "history": [
            {"as_of": each.as_of, "score": each.record["health"]["score"], "band": each.record["health"]["band"]}
            for each in history
            if known_at is None or each.known_at <= known_at
        ],
        "plays": [play_record(play, language) for play in store.plays.list(account_id)],
        "feedback": store.feedback.of(account_id),
        "manual_score": manual,
    }
