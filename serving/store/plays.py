"""`Plays`: the playbooks that run for accounts, and the log of what happened to them (domain.md §8)."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, false, insert, select, tuple_, update

from models.playbooks import load
from serving.store.authors import Author, By
from serving.store.database import Database
from serving.store.instants import now, utc
from serving.store.play_records import (
    STATES,
    Change,
    Closed,
    Event,
    Play,
    PlayConflictError,
    PlayEvent,
    Resumed,
    Snoozed,
    State,
    StepDone,
    StepUndone,
    UnknownPlayError,
    changed,
    declared_steps,
    to_declared,
    to_steps,
)
from serving.store.tables.history import AccountRow
from serving.store.tables.work import ID_LENGTH, PlayEventRow, PlayRow, TextRow
from serving.store.texts import keep_text
from serving.store.transactions import account_key, standing_decision

Instant = datetime | date | str
#: A play is started at most this long before or after it is said.
FURTHEST_DAYS = 366
Notice = Literal["play.started", "play.closed"]
#: Called in the transaction that starts or closes a play, with its connection; `Store.outbox.put` is one.
Notify = Callable[[Connection, Notice, dict[str, Any]], object]
_EVENT: dict[type[Change], Event] = {
    StepDone: "step_done",
    StepUndone: "step_undone",
    Snoozed: "snoozed",
    Resumed: "resumed",
    Closed: "closed",
}


class Plays:
    """The playbooks that run for accounts; who did what to them when is append-only. Plays of erased accounts are not seen.

    `notify` is told of each start and close in its own transaction.
    """

    def __init__(self, database: Database, notify: Notify):
        self._database, self._notify = database, notify

    def start(
        self,
        account_id: str,
        playbook: str,
        by: By,
        at: Instant | None = None,
        *,
        owner: str | None = None,
        started_at: Instant | None = None,
        text: str | None = None,
    ) -> Play:
        """Start a playbook for an account, and return the play; `at` (now) is when this is said, `started_at` (`at`) its day 0.

        Where the decision that stands for the account chose this playbook, its assignment is copied; where it holds the account
        out, the play is marked as an override. Raises UnknownAccountError, PlayConflictError where the playbook runs for the
        account already, ValueError for a playbook that does not exist, an owner that is no id, or a day 0 that is more than
        FURTHEST_DAYS away.
        """
        if playbook not in load():
            raise ValueError(f"playbook {playbook!r} is not in the catalogue; its playbooks: {', '.join(load())}")
        if owner is not None and ("\0" in owner or not 0 < len(owner) <= ID_LENGTH):
            raise ValueError(f"owner {owner[:ID_LENGTH]!r} is no id; give that of a user, of at most {ID_LENGTH} characters")
        said_at = now() if at is None else utc(at)
        day_0 = said_at if started_at is None else utc(started_at)
        if abs(day_0 - said_at) > timedelta(days=FURTHEST_DAYS):
            raise ValueError(f"started_at is {day_0.isoformat()}; give an instant at most {FURTHEST_DAYS} days away from now")
        with self._database.writing() as connection:
            key = account_key(connection, account_id, self._database.where)
            running = _plays().where(PlayRow.account_key == key, PlayRow.playbook == playbook, PlayRow.state != "closed")
            if other := connection.execute(running).first():
                raise PlayConflictError(
                    f"{playbook} runs for account {account_id!r} already", _to_play(other), self._database.where
                )
            decision = standing_decision(connection, key)
            chosen = decision if decision is not None and decision.playbook == playbook else None
            play_id = uuid.uuid4()
            row = {
                "play_id": play_id,
                "account_key": key,
                "playbook": playbook,
                "owner": owner,
                "started_at": day_0,
                "state": "running",
                "assignment": None if chosen is None else chosen.assignment,
                "probability": None if chosen is None else chosen.probability,
                "override": decision is not None and decision.assignment == "held_out",
                "version": 1,
                "steps": declared_steps(load()[playbook]),
            }
            connection.execute(insert(PlayRow), [row])
            _log(connection, play_id, key, 1, said_at, "started", by, text, None)
            play = self._one(connection, play_id)
            self._notify(connection, "play.started", _facts(play, key))
            return play

    def change(
        self,
        play_id: str,
        version: int,
        change: Change,
        by: By,
        at: Instant | None = None,
        *,
        text: str | None = None,
    ) -> Play:
        """Change a play that is still of `version`, and return it as it is then; `at`: now.

        Raises UnknownPlayError, PlayConflictError where the play has changed since or cannot take the change as it stands, and
        ValueError where no play could.
        """
        said_at = now() if at is None else utc(at)
        if isinstance(change, Snoozed):
            change = Snoozed(utc(change.until))
        with self._database.writing() as connection:
            play = self._one(connection, _uuid(play_id, self._database.where))
            if play.version != version:
                what = f"play {play_id!r} is of version {play.version}, not {version}: somebody changed it"
                raise PlayConflictError(what, play, self._database.where)
            return self._apply(connection, play, change, by, said_at, text)

    def wake(self, by: By, at: Instant | None = None) -> int:
        """Resume every play whose snooze is over at `at` (now), and return how many; for the night."""
        said_at = now() if at is None else utc(at)
        with self._database.writing() as connection:
            due = _plays().where(PlayRow.state == "snoozed", PlayRow.snoozed_until <= said_at)
            plays = [_to_play(row) for row in connection.execute(due)]
            for play in plays:
                self._apply(connection, play, Resumed(), by, said_at, None)
        return len(plays)

    def get(self, play_id: str) -> Play:
        """Return the play of this id. Raises UnknownPlayError."""
        with self._database.reading() as connection:
            return self._one(connection, _uuid(play_id, self._database.where))

    def log(self, play_id: str) -> Sequence[PlayEvent]:
        """Return what happened to a play, oldest first. Raises UnknownPlayError."""
        with self._database.reading() as connection:
            key = uuid.UUID(self._one(connection, _uuid(play_id, self._database.where)).play_id)
            rows = connection.execute(
                select(*PlayEventRow.__table__.columns, TextRow.text)
                .outerjoin(TextRow, TextRow.text_id == PlayEventRow.text_id)
                .where(PlayEventRow.play_id == key)
                .order_by(PlayEventRow.version)
            )
            return [
                PlayEvent(r.version, r.at, r.event, Author(r.by_kind, r.by_id), r.step, r.until, r.outcome, r.text) for r in rows
            ]

    def running(self) -> frozenset[tuple[str, str]]:
        """Return (account_id, playbook) of every play that is not closed; a snoozed one runs too."""
        query = select(AccountRow.account_id, PlayRow.playbook).join(PlayRow, PlayRow.account_key == AccountRow.account_key)
        query = query.where(AccountRow.account_id.is_not(None), PlayRow.state != "closed")
        with self._database.reading() as connection:
            return frozenset((str(account_id), playbook) for account_id, playbook in connection.execute(query))

    def list(
        self,
        account_id: str | None = None,
        state: State | None = None,
        playbook: str | None = None,
        csm: str | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Play]:
        """Return plays, the last started first: those of an account, state, playbook or CSM, where given; at most `limit`.

        `after` is the id of the last play of the page before. Raises UnknownPlayError for an `after` that there never was,
        ValueError for a state that is not declared. An account, playbook or CSM without plays gives none.
        """
        if state is not None and state not in STATES:
            raise ValueError(f"state {state!r} is not known; allowed: {', '.join(STATES)}")
        wanted = {AccountRow.account_id: account_id, PlayRow.state: state, PlayRow.playbook: playbook, AccountRow.csm: csm}
        query = _plays().order_by(PlayRow.started_at.desc(), PlayRow.play_id.desc()).limit(limit)
        for column, value in wanted.items():
            if value is not None:
                # PostgreSQL refuses to compare with text that holds NUL
                query = query.where(false() if "\0" in value else column == value)
        with self._database.reading() as connection:
            if after is not None:
                place = select(PlayRow.started_at, PlayRow.play_id).where(PlayRow.play_id == _uuid(after, self._database.where))
                last = connection.execute(place).first()
                if last is None:
                    raise UnknownPlayError(after, self._database.where)
                query = query.where(tuple_(PlayRow.started_at, PlayRow.play_id) < tuple_(*last))
            return [_to_play(row) for row in connection.execute(query)]

    # Within a transaction

    def _one(self, connection: Connection, key: uuid.UUID) -> Play:
        row = connection.execute(_plays().where(PlayRow.play_id == key)).first()
        if row is None:
            raise UnknownPlayError(str(key), self._database.where)
        return _to_play(row)

    def _apply(
        self,
        connection: Connection,
        play: Play,
        change: Change,
        by: By,
        at: datetime,
        text: str | None,
    ) -> Play:
        new = changed(play, change, at, self._database.where)
        key = uuid.UUID(play.play_id)
        account = connection.scalar(
            update(PlayRow)
            .where(PlayRow.play_id == key)
            .values(
                state=new.state,
                snoozed_until=new.snoozed_until,
                closed_at=new.closed_at,
                outcome=new.outcome,
                version=new.version,
                steps=to_declared(new.steps),
            )
            .returning(PlayRow.account_key)
        )
        assert account is not None  # the play was read in this transaction
        _log(connection, key, account, new.version, at, _EVENT[type(change)], by, text, change)
        if isinstance(change, Closed):
            self._notify(connection, "play.closed", _facts(new, account))
        return new


def _plays() -> Select:
    return (
        select(AccountRow.account_id, *PlayRow.__table__.columns)
        .join(AccountRow, AccountRow.account_key == PlayRow.account_key)
        .where(AccountRow.account_id.is_not(None))
    )


def _to_play(row: Row[Any]) -> Play:
    kept = {name: value for name, value in row._mapping.items() if name != "account_key"}
    return Play(**kept | {"play_id": str(row.play_id), "steps": to_steps(row.steps, row.started_at)})


def _uuid(play_id: str, where: str) -> uuid.UUID:
    try:
        return uuid.UUID(play_id)
    except ValueError as error:
        raise UnknownPlayError(play_id, where) from error


def _log(
    connection: Connection,
    play_id: uuid.UUID,
    account: uuid.UUID,
    version: int,
    at: datetime,
    event: Event,
    by: By,
    text: str | None,
    change: Change | None,
) -> None:
    row = {"play_id": play_id, "version": version, "at": at, "event": event, "by_kind": by.kind, "by_id": by.id}
    detail = {"step": None, "until": None, "outcome": None} | ({} if change is None else asdict(change))
    connection.execute(insert(PlayEventRow), [row | detail | {"text_id": keep_text(connection, account, text, at)}])


def _facts(play: Play, account: uuid.UUID) -> dict[str, Any]:
    """Return what others are told of a play: the account by its key, no name, no text, nobody's id."""
    told = ("play_id", "playbook", "started_at", "closed_at", "outcome", "assignment", "override")
    return {"account_key": account, **{name: getattr(play, name) for name in told}}
