"""The questions that history answers, as SQL; two times bound each: what it speaks of, and when it stood."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, select
from sqlalchemy.orm import aliased

from serving.store.records import HealthPoint, LoggedDecision, Score
from serving.store.tables import AccountRow, DecisionRow, RunRow, ScoreRow

_SCORE = (
    AccountRow.account_id,
    AccountRow.name,
    AccountRow.csm,
    ScoreRow.run_id,
    ScoreRow.as_of,
    ScoreRow.scored_at,
    RunRow.finished_at,
    ScoreRow.versions,
    ScoreRow.record,
)


def history(account_id: str) -> Select:
    """Every score of one account that a finished run made, oldest first."""
    return (
        _seen(select(*_SCORE), ScoreRow).where(AccountRow.account_id == account_id).order_by(ScoreRow.as_of, RunRow.finished_at)
    )


def standing(as_of: datetime | None, known_at: datetime | None) -> Select:
    """One score per account, the one that stands: the latest as_of up to `as_of`, of its versions the last known."""
    return (
        _seen(select(*_SCORE), ScoreRow)
        .where(AccountRow.account_id.is_not(None), ScoreRow.score_id == _standing_id(as_of, known_at))
        .order_by(AccountRow.account_id)
    )


def health_points(before: datetime) -> Select:
    """The health of each account at its latest score at or before `before`; no record is read."""
    return (
        select(AccountRow.account_id, ScoreRow.as_of, ScoreRow.health_score, ScoreRow.band)
        .join(ScoreRow, ScoreRow.account_key == AccountRow.account_key)
        .where(AccountRow.account_id.is_not(None), ScoreRow.score_id == _standing_id(before, None))
    )


def log(account_id: str) -> Select:
    """Every decision on one account that a finished run made, oldest first."""
    return (
        _seen(select(AccountRow.account_id, *DecisionRow.__table__.columns), DecisionRow)
        .where(AccountRow.account_id == account_id)
        .order_by(DecisionRow.decided_at, DecisionRow.decision_id)
    )


def _seen(query: Select, rows: type[ScoreRow] | type[DecisionRow]) -> Select:
    return (
        query.select_from(AccountRow)
        .join(rows, rows.account_key == AccountRow.account_key)
        .join(RunRow, RunRow.run_id == rows.run_id)
        .where(RunRow.finished_at.is_not(None))
    )


def _standing_id(as_of: datetime | None, known_at: datetime | None) -> ScalarSelect[Any]:
    score, run = aliased(ScoreRow), aliased(RunRow)
    query = (
        select(score.score_id)
        .join(run, run.run_id == score.run_id)
        .where(score.account_key == AccountRow.account_key, run.finished_at.is_not(None))
        # finished_at is unique, so this order has no ties
        .order_by(score.as_of.desc(), run.finished_at.desc())
        .limit(1)
    )
    if as_of is not None:
        query = query.where(score.as_of <= as_of)
    if known_at is not None:
        query = query.where(run.finished_at <= known_at)
    return query.correlate(AccountRow).scalar_subquery()


def to_score(row: Row[Any]) -> Score:
    """Return a row of `history` or `standing` as a Score, its record whole again."""
    identity = {"account_id": row.account_id, "name": row.name, "csm": row.csm, "as_of": row.as_of.isoformat()}
    record = {**identity, **row.record, "versions": row.versions}
    return Score(row.run_id, row.as_of, row.scored_at, row.finished_at, record)


def to_health_point(row: Row[Any]) -> HealthPoint:
    """Return a row of `health_points` without its account."""
    return HealthPoint(row.as_of, row.health_score, row.band)


def to_decision(row: Row[Any]) -> LoggedDecision:
    """Return a row of `log` as a LoggedDecision."""
    fields = {name: value for name, value in row._mapping.items() if name not in ("decision_id", "account_key")}
    return LoggedDecision(**fields)
