"""`Store`: the one door to the service's database."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, bindparam, func, insert, select, update

from serving.store import reads, scored_account
from serving.store.access import Access
from serving.store.contacts import Contacts, erase_contacts
from serving.store.database import Database
from serving.store.errors import StoreError, UnknownAccountError
from serving.store.feedback import FeedbackLog
from serving.store.inputs import Inputs
from serving.store.instants import now, utc
from serving.store.intake import Intake
from serving.store.jobs import Jobs
from serving.store.migrations import migrate
from serving.store.outbox import Outbox
from serving.store.plays import Plays
from serving.store.records import Decision, HealthPoint, Identity, Line, LoggedDecision, Run, Score
from serving.store.tables import AccountRow, DecisionRow, RunRow, ScoreRow
from serving.store.texts import erase_texts
from serving.store.transactions import account_key, append_to_run, find_run, known_run

Instant = datetime | date | str


class Store:
    """Score history and the decision log of one workspace.

    What a run appends is seen once the run is finished, so a crash leaves nothing half-done in sight: begin the run again
    under its id, append the same again (what is there is passed over) and finish it. Instants may be given as datetime,
    date or ISO 8601 text; without an offset they are UTC. Database errors are raised as StoreError.
    """

    def __init__(self, database: Database):
        self._database = database
        #: How the database is named to people.
        self.where = database.where
        self.access = Access(database)
        self.inputs = Inputs(database)
        self.feedback = FeedbackLog(database)
        self.contacts = Contacts(database)
        self.intake = Intake(database)
        self.outbox = Outbox(database)
        self.plays = Plays(database, self.outbox.put)
        self.jobs = Jobs(database)

    @classmethod
    def open(cls, url: str | Path, *, timeout_s: float = 30) -> Self:
        """Open the database, an SQLite file or any SQLAlchemy URL of SQLite or PostgreSQL, and bring it to this version.

        Several processes may do so at once. `timeout_s` is how long to wait for another writer. Raises StoreError where
        the database cannot be reached, read or written, or is of a newer version.
        """
        store = cls(Database(url, timeout_s))
        try:
            store._database.use_wal()
            migrate(store._database)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the connections; the store is not used after it."""
        self._database.close()

    def revision(self) -> int | None:
        """A number that differs once anybody has changed the database since it was asked before; None where it cannot be told.

        Tells on SQLite files, from the first call on.
        """
        self._database.watch()
        return self._database.revision()

    def __enter__(self) -> Self:
        """Return the store; it closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    # Identities

    def save_accounts(self, identities: Iterable[Identity]) -> int:
        """Record who the accounts are, and return how many are new; a new one draws a random key, a known one keeps it."""
        wanted = {identity.account_id: identity for identity in identities}
        with self._database.writing() as connection:
            rows = connection.execute(select(AccountRow.account_id, AccountRow.name, AccountRow.csm))
            saved = {account_id: (name, csm) for account_id, name, csm in rows}
            new = [identity for account_id, identity in wanted.items() if account_id not in saved]
            changed = [
                {"key": account_id, "name": identity.name, "csm": identity.csm}
                for account_id, identity in wanted.items()
                if account_id in saved and (identity.name, identity.csm) != saved[account_id]
            ]
            if new:
                drawn = [{"account_key": uuid.uuid4(), **asdict(identity)} for identity in new]
                connection.execute(insert(AccountRow), drawn)
            if changed:
                connection.execute(
                    update(AccountRow)
                    .where(AccountRow.account_id == bindparam("key"))
                    .values(name=bindparam("name"), csm=bindparam("csm")),
                    changed,
                )
        return len(new)

    def forget_account(self, account_id: str) -> dict[str, int]:
        """Erase who the account is, its contacts and what people wrote about it, for good; return how many rows of each.

        Scores, decisions, plays and verdicts stay, under a key that names nobody. Raises UnknownAccountError where the store does
        not know the account (any more).
        """
        with self._database.writing() as connection:
            erased = connection.scalars(
                update(AccountRow)
                .where(AccountRow.account_id == account_id)
                .values(account_id=None, name=None, csm=None, erased_at=now())
                .returning(AccountRow.account_key)
            ).all()
            if not erased:
                raise UnknownAccountError(account_id, self._database.where)
            [key] = erased
            return {"accounts": 1, "contacts": erase_contacts(connection, key), "texts": erase_texts(connection, key)}

    def csm_of(self, account_id: str) -> str | None:
        """Return who owns the account, if anybody is known to. Raises UnknownAccountError."""
        with self._database.reading() as connection:
            found = connection.execute(select(AccountRow.csm).where(AccountRow.account_id == account_id)).first()
            if found is None:
                raise UnknownAccountError(account_id, self.where)
            return found.csm

    # Runs

    def begin_run(self, kind: str, as_of: Instant, versions: Mapping[str, Any], *, run_id: str | None = None) -> Run:
        """Begin a run, or go on with the one of this id (None: a new random id), and return it.

        A run that is returned with `finished_at` was done before. Raises StoreError where the id is that of a run of
        another kind, instant or versions.
        """
        asked = {"kind": kind, "as_of": utc(as_of), "versions": json.loads(scored_account.to_json(dict(versions)))}
        run_id = run_id or uuid.uuid4().hex
        with self._database.writing() as connection:
            run = find_run(connection, run_id)
            if run is None:
                row = {"run_id": run_id, "started_at": now(), "counts": {}, **asked}
                connection.execute(insert(RunRow), [row])
                return Run(finished_at=None, **row)
        for name, value in asked.items():
            if getattr(run, name) != value:
                raise StoreError(
                    f"run {run_id!r} was begun with {name} {getattr(run, name)!s}, not {value!s}",
                    self._database.where,
                    "Begin a new run under another id.",
                )
        return run

    def run(self, run_id: str) -> Run:
        """Return the run of this id; StoreError where there is none."""
        with self._database.reading() as connection:
            return self._known_run(connection, run_id)

    def finish_run(self, run_id: str, counts: Mapping[str, int] | None = None) -> Run:
        """Finish the run: from now on what it wrote is seen, and is fixed. Finishing again changes nothing.

        `counts` are kept with it, beside the numbers of its `scores` and `decisions`.
        """
        with self._database.writing() as connection:
            if self._known_run(connection, run_id).finished_at is None:
                written = {
                    rows.__tablename__: connection.scalar(select(func.count()).select_from(rows).where(rows.run_id == run_id))
                    for rows in (ScoreRow, DecisionRow)
                }
                connection.execute(
                    update(RunRow)
                    .where(RunRow.run_id == run_id)
                    .values(finished_at=_next_instant(connection), counts={**(counts or {}), **written})
                )
                self.outbox.band_changes(connection, run_id)
            return self._known_run(connection, run_id)

    # Appending

    def append_scores(self, run_id: str, records: Iterable[Mapping[str, Any]]) -> int:
        """Append scored accounts to a run, all or none, and return how many are new; those it holds are passed over.

        A record is a scored account; history keeps its numbers, not its names and sentences. Raises StoreError for an
        unknown run or account and for a new row in a finished run, ValueError for a record that history cannot hold.
        """
        scored_at = now()
        rows = [
            {"account_id": record.get("account_id"), "scored_at": scored_at, **scored_account.columns(record)}
            for record in records
        ]
        return self._append(ScoreRow, run_id, rows)

    def append_decisions(self, run_id: str, decisions: Iterable[Decision]) -> int:
        """Append choices of plays to a run, under the same rules as `append_scores`."""
        rows = [
            {
                "account_id": decision.account_id,
                "as_of": utc(decision.as_of),
                "decided_at": utc(decision.decided_at),
                "playbook": decision.playbook,
                "candidates": scored_account.candidates(decision.candidates, decision.account_id),
                "assignment": decision.assignment,
                "probability": decision.probability,
                "seed": decision.seed,
                "known": scored_account.known(decision.known, decision.account_id),
            }
            for decision in decisions
        ]
        return self._append(DecisionRow, run_id, rows)

    def _append(self, table: type[ScoreRow] | type[DecisionRow], run_id: str, rows: list[dict[str, Any]]) -> int:
        with self._database.writing() as connection:
            return append_to_run(connection, table, run_id, rows, self.where)

    # Reading

    def scores(self, account_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None) -> list[Score]:
        """Return the score history of one account, oldest first; with a time given, the one score that stands (or none).

        `as_of`: the score that speaks of that instant, which is the latest as_of up to it. `known_at`: the one that stood
        then, counting only runs finished by that instant; later runs never change that answer. Of several versions the
        last one stands. Raises UnknownAccountError.
        """
        if as_of is None and known_at is None:
            asked = reads.history(account_id)
        else:
            asked = reads.standing(_utc(as_of), _utc(known_at), account_id)
        with self._database.reading() as connection:
            found = [] if "\0" in account_id else [reads.to_score(row) for row in connection.execute(*asked)]
            if not found:
                account_key(connection, account_id, self.where)
            return found

    def latest_scores(self, as_of: Instant | None = None, *, known_at: Instant | None = None) -> list[Score]:
        """Return of every account the score that stands, as in `scores`, by account id. Erased accounts are not in it."""
        with self._database.reading() as connection:
            return [reads.to_score(row) for row in connection.execute(*reads.standing(_utc(as_of), _utc(known_at)))]

    def portfolio_run(self, *, as_of: Instant | None = None, known_at: Instant | None = None) -> Run | None:
        """Return the run whose scores stand for the whole portfolio, at those times as in `scores`; None before the first."""
        with self._database.reading() as connection:
            row = connection.execute(*reads.portfolio_run(_utc(as_of), _utc(known_at))).first()
            return None if row is None else Run(**row._mapping)

    def lines(self, run_id: str) -> list[Line]:
        """Return of each account of a run what lists are filtered and sorted by, in no order; erased ones are not in it."""
        with self._database.reading() as connection:
            return [reads.to_line(row) for row in connection.execute(reads.lines(run_id))]

    def known_accounts(self) -> int:
        """Return how many accounts are known and not erased."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count(AccountRow.account_id))) or 0

    def scores_of(self, run_id: str, account_ids: Sequence[str]) -> dict[str, Score]:
        """Return account id → the score that a finished run made; unknown ids are not in it."""
        with self._database.reading() as connection:
            found = (reads.to_score(row) for row in connection.execute(reads.of_run(run_id, account_ids)))
            return {score.record["account_id"]: score for score in found}

    def previous(self, before: Instant, account_id: str | None = None) -> dict[str, HealthPoint]:
        """Return account id → its health at its latest score at or before `before`; accounts without one are not in it.

        `account_id` restricts it to one account. For `change_30d`, ask for 30 days before the new score's as_of.
        """
        asked = reads.health_points(utc(before), account_id)
        with self._database.reading() as connection:
            return {row.account_id: reads.to_health_point(row) for row in connection.execute(*asked)}

    def decisions(self, account_id: str) -> list[LoggedDecision]:
        """Return the choices of plays for one account, oldest first. Raises UnknownAccountError."""
        with self._database.reading() as connection:
            account_key(connection, account_id, self.where)
            return [reads.to_decision(row) for row in connection.execute(reads.log(account_id))]

    def arms(self, playbook: str) -> dict[str, tuple[int, int]]:
        """Return arm → how many choices of the playbook fell into it, and of how many accounts."""
        with self._database.reading() as connection:
            return {arm or "none": (choices, accounts) for arm, choices, accounts in connection.execute(reads.arms(playbook))}

    # Within a transaction

    def _known_run(self, connection: Connection, run_id: str) -> Run:
        return known_run(connection, run_id, self.where)


def _next_instant(connection: Connection) -> datetime:
    """Return now, or just after the run that finished last: a clock set back must not change what stood when."""
    last = connection.scalar(select(func.max(RunRow.finished_at)))
    return now() if last is None else max(now(), last + timedelta(microseconds=1))


def _utc(instant: Instant | None) -> datetime | None:
    return None if instant is None else utc(instant)
