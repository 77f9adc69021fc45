"""The questions that history answers, as SQL; two times bound each: what it speaks of, and when it stood."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Row, ScalarSelect, Select, String, and_, bindparam, distinct, func, select
from sqlalchemy.orm import aliased

from serving.store.instants import UtcDateTime
from serving.store.records import HealthPoint, Line, LoggedDecision, Score
from serving.store.scored_account import whole
from serving.store.tables import AccountRow, DecisionRow, RunRow, ScoreRow

#: Kinds of runs that score the whole portfolio.
PORTFOLIO_KINDS = ("score",)
_AS_OF, _KNOWN_AT = bindparam("as_of", type_=UtcDateTime()), bindparam("known_at", type_=UtcDateTime())
_ACCOUNT = bindparam("account_id", type_=String())
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
    DecisionRow.candidates,
)


class Asked(NamedTuple):
    """A question ready to be put: a statement built once for its form, and the values of this time."""

    statement: Select
    values: dict[str, Any]


def history(account_id: str) -> Asked:
    """Every score of one account that a finished run made, oldest first."""
    return Asked(_history(), {"account_id": account_id})


def standing(as_of: datetime | None, known_at: datetime | None, account_id: str | None = None) -> Asked:
    """The score that stands, per account or of that one: of the latest as_of up to `as_of`, the version known last."""
    return _asked(_standing, as_of=as_of, known_at=known_at, account_id=account_id)


def health_points(before: datetime, account_id: str | None) -> Asked:
    """The health of each account, or of that one, at its latest score at or before `before`; no record is read."""
    return _asked(_health_points, as_of=before, account_id=account_id)


def portfolio_run(as_of: datetime | None, known_at: datetime | None) -> Asked:
    """The run whose scores stand for the whole portfolio: of the latest as_of, the one finished last."""
    return _asked(_portfolio_run, as_of=as_of, known_at=known_at)


def _asked(form: Callable[..., Select], **values: Any) -> Asked:
    """The statement of a form; a value that is None is not asked for. Building one takes longer than answering it."""
    given = {name: value for name, value in values.items() if value is not None}
    return Asked(form(*sorted(given)), given)


@cache
def _history() -> Select:
    return _scores().where(AccountRow.account_id == _ACCOUNT).order_by(ScoreRow.as_of, RunRow.finished_at)


@cache
def _standing(*given: str) -> Select:
    query = _scores().where(AccountRow.account_id.is_not(None), ScoreRow.score_id == _standing_id(given))
    return query.where(AccountRow.account_id == _ACCOUNT) if "account_id" in given else query.order_by(AccountRow.account_id)


@cache
def _health_points(*given: str) -> Select:
    query = (
        select(AccountRow.account_id, ScoreRow.as_of, ScoreRow.health_score, ScoreRow.band)
        .join(ScoreRow, ScoreRow.account_key == AccountRow.account_key)
        .where(AccountRow.account_id.is_not(None), ScoreRow.score_id == _standing_id(given))
    )
    return query.where(AccountRow.account_id == _ACCOUNT) if "account_id" in given else query


@cache
def _portfolio_run(*given: str) -> Select:
    query = select(*RunRow.__table__.columns).where(RunRow.kind.in_(PORTFOLIO_KINDS), RunRow.finished_at.is_not(None))
    if "as_of" in given:
        query = query.where(RunRow.as_of <= _AS_OF)
    if "known_at" in given:
        query = query.where(RunRow.finished_at <= _KNOWN_AT)
    return query.order_by(RunRow.as_of.desc(), RunRow.finished_at.desc()).limit(1)


def lines(run_id: str) -> Select:
    """What a list of accounts is filtered and sorted by, of each account of a run that is not erased."""
    record = ScoreRow.record
    return (
        select(
            AccountRow.account_id,
            AccountRow.name,
            AccountRow.csm,
            ScoreRow.health_score,
            ScoreRow.band,
            ScoreRow.p_churn,
            ScoreRow.arr_at_risk,
            record["tier"].as_string().label("tier"),
            record["stage"].as_string().label("stage"),
            record["leaving"].as_boolean().label("leaving"),
            record["disagreement"].as_boolean().label("disagreement"),
            record["arr"].as_float().label("arr"),
            record["play"]["name"].as_string().label("playbook"),
            record["play"]["expected_value"].as_float().label("expected_value"),
        )
        .join(ScoreRow, ScoreRow.account_key == AccountRow.account_key)
        .where(ScoreRow.run_id == run_id, AccountRow.account_id.is_not(None))
    )


def of_run(run_id: str, account_ids: Sequence[str]) -> Select:
    """The scores that a run gave those accounts."""
    return _scores().where(ScoreRow.run_id == run_id, AccountRow.account_id.in_(account_ids))


def arms(playbook: str) -> Select:
    """How many choices of a playbook, and of how many accounts, fell into each arm; choices that were not randomised too."""
    return (
        select(DecisionRow.assignment, func.count(), func.count(distinct(DecisionRow.account_key)))
        .join(RunRow, RunRow.run_id == DecisionRow.run_id)
        .where(DecisionRow.playbook == playbook, RunRow.finished_at.is_not(None))
        .group_by(DecisionRow.assignment)
    )


def log(account_id: str) -> Select:
    """Every decision on one account that a finished run made, oldest first."""
    return (
        _seen(select(AccountRow.account_id, *DecisionRow.__table__.columns), DecisionRow)
        .where(AccountRow.account_id == account_id)
        .order_by(DecisionRow.decided_at, DecisionRow.decision_id)
    )


def _scores() -> Select:
    """Scores of finished runs, each with the plays that competed when it was made."""
    made_with = and_(
        DecisionRow.run_id == ScoreRow.run_id,
        DecisionRow.account_key == ScoreRow.account_key,
        DecisionRow.as_of == ScoreRow.as_of,
    )
    return _seen(select(*_SCORE), ScoreRow).outerjoin(DecisionRow, made_with)


def _seen(query: Select, rows: type[ScoreRow] | type[DecisionRow]) -> Select:
    return (
        query.select_from(AccountRow)
        .join(rows, rows.account_key == AccountRow.account_key)
        .join(RunRow, RunRow.run_id == rows.run_id)
        .where(RunRow.finished_at.is_not(None))
    )


def _standing_id(given: Sequence[str]) -> ScalarSelect[Any]:
    score, run = aliased(ScoreRow), aliased(RunRow)
    query = (
        select(score.score_id)
        .join(run, run.run_id == score.run_id)
        .where(score.account_key == AccountRow.account_key, run.finished_at.is_not(None))
        # finished_at is unique, so this order has no ties
        .order_by(score.as_of.desc(), run.finished_at.desc())
        .limit(1)
    )
    if "as_of" in given:
        query = query.where(score.as_of <= _AS_OF)
    if "known_at" in given:
        query = query.where(run.finished_at <= _KNOWN_AT)
    return query.correlate(AccountRow).scalar_subquery()


def to_score(row: Row[Any]) -> Score:
    """Return a row of `history` or `standing` as a Score, its record whole again."""
    identity = {"account_id": row.account_id, "name": row.name, "csm": row.csm, "as_of": row.as_of.isoformat()}
    record = {**identity, **whole(row.record), "versions": row.versions}
    return Score(row.run_id, row.as_of, row.scored_at, row.finished_at, record, row.candidates)


def to_health_point(row: Row[Any]) -> HealthPoint:
    """Return a row of `health_points` without its account."""
    return HealthPoint(row.as_of, row.health_score, row.band)


def to_line(row: Row[Any]) -> Line:
    """Return a row of `lines` as a Line."""
    return Line(**row._mapping)


def to_decision(row: Row[Any]) -> LoggedDecision:
    """Return a row of `log` as a LoggedDecision."""
    fields = {name: value for name, value in row._mapping.items() if name not in ("decision_id", "account_key")}
    return LoggedDecision(**fields)
