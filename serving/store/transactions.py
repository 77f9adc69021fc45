"""What every part of the store asks within a transaction: which account, which run, which score; and how a run's rows join it."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from serving.store.errors import StoreError, UnknownAccountError
from serving.store.records import Run
from serving.store.tables import AccountRow, DecisionRow, RunRow, ScoreRow
from serving.store.tables.work import InputRow

_NAMED = 5


def account_key(connection: Connection, account_id: str, where: str) -> uuid.UUID:
    """Return the account's key; UnknownAccountError where the store does not know it (any more)."""
    # PostgreSQL refuses to compare with text that holds NUL
    known = None if "\0" in account_id else select(AccountRow.account_key).where(AccountRow.account_id == account_id)
    key = None if known is None else connection.scalar(known)
    if key is None:
        raise UnknownAccountError(account_id, where)
    return key


def known_keys(connection: Connection) -> dict[str, uuid.UUID]:
    """Return account id → key of every account that is not erased."""
    rows = connection.execute(select(AccountRow.account_id, AccountRow.account_key).where(AccountRow.account_id.is_not(None)))
    return {account_id: key for account_id, key in rows if account_id is not None}


def account_keys(connection: Connection, wanted: set[str], where: str) -> dict[str, uuid.UUID]:
    """Return account id → key of every account; StoreError, naming the first five, where one of `wanted` is unknown."""
    keys = known_keys(connection)
    if unknown := sorted(map(repr, wanted - keys.keys())):
        some = ", ".join(unknown[:_NAMED]) + (" …" if len(unknown) > _NAMED else "")
        are = "account is" if len(unknown) == 1 else "accounts are"
        raise StoreError(f"{len(unknown)} {are} not in the store: {some}", where, "Save them with save_accounts first.")
    return keys


def find_run(connection: Connection, run_id: str) -> Run | None:
    """Return the run of this id, or None."""
    columns = ("run_id", "kind", "as_of", "started_at", "finished_at", "versions", "counts")
    row = connection.execute(select(*(getattr(RunRow, name) for name in columns)).where(RunRow.run_id == run_id)).first()
    return None if row is None else Run(*row)


def known_run(connection: Connection, run_id: str, where: str) -> Run:
    """Return the run of this id; StoreError where there is none."""
    run = find_run(connection, run_id)
    if run is None:
        raise StoreError(f"there is no run {run_id!r}", where, "Begin it with begin_run first.")
    return run


def append_to_run(
    connection: Connection,
    table: type[ScoreRow] | type[DecisionRow] | type[InputRow],
    run_id: str,
    rows: list[dict[str, Any]],
    where: str,
) -> int:
    """Append rows (with account_id) to a run and return how many are new; what the run holds already is passed over.

    Raises StoreError for an unknown run or account and for a new row in a finished run, ValueError for a row given twice.
    """
    run = known_run(connection, run_id, where)
    keys = account_keys(connection, {row["account_id"] for row in rows}, where)
    held = connection.execute(select(table.account_key, table.as_of).where(table.run_id == run_id))
    taken = {(key, as_of) for key, as_of in held}
    new = []
    given = set()
    for row in rows:
        values = {name: value for name, value in row.items() if name != "account_id"}
        place = (keys[row["account_id"]], row["as_of"])
        if place in given:
            raise ValueError(f"account {row['account_id']!r} at {row['as_of']} is given twice; a run holds it once")
        given.add(place)
        if place not in taken:
            new.append({"run_id": run_id, "account_key": place[0], **values})
    if new and run.finished_at is not None:
        raise StoreError(
            f"run {run_id!r} is finished and takes none of the {len(new)} new {table.__tablename__}",
            where,
            "Begin a new run for them.",
        )
    if new:
        connection.execute(insert(table), new)
    return len(new)


def standing_score(
    connection: Connection,
    key: uuid.UUID,
    *,
    run_id: str | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> Row[Any] | None:
    """Return run_id and as_of of the account's score that stands (of that run, if one is given), or None."""
    return connection.execute(_last_seen(ScoreRow, select(ScoreRow.run_id, ScoreRow.as_of), key, run_id, as_of, known_at)).first()


def standing_decision(connection: Connection, key: uuid.UUID) -> Row[Any] | None:
    """Return playbook, assignment and probability of the account's decision that stands, or None."""
    asked = select(DecisionRow.playbook, DecisionRow.assignment, DecisionRow.probability)
    return connection.execute(_last_seen(DecisionRow, asked, key)).first()


def _last_seen(
    rows: type[ScoreRow] | type[DecisionRow],
    query: Select,
    key: uuid.UUID,
    run_id: str | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> Select:
    """Of the rows that finished runs made, the one of the latest as_of, of its versions the last known (as in `reads`)."""
    query = query.join(RunRow, RunRow.run_id == rows.run_id).where(rows.account_key == key, RunRow.finished_at.is_not(None))
    if run_id is not None:
        query = query.where(rows.run_id == run_id)
    if as_of is not None:
        query = query.where(rows.as_of <= as_of)
    if known_at is not None:
        query = query.where(RunRow.finished_at <= known_at)
    return query.order_by(rows.as_of.desc(), RunRow.finished_at.desc()).limit(1)
