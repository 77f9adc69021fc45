"""People who may sign in: added, listed, disabled, forgotten."""

import unicodedata
import uuid
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from models.sentences import LANGUAGES, Language
from serving.principal import ROLE_SCOPES, Role
from serving.store import passwords
from serving.store.access_records import User
from serving.store.database import Database
from serving.store.errors import ConflictError, StoreError, UnknownRecordError
from serving.store.instants import now
from serving.store.tables.access import SessionRow, SignInLinkRow, UserRow

_LONGEST_NAME = 200


class Users:
    """The people of one workspace."""

    def __init__(self, database: Database):
        self._database = database

    def add_user(
        self,
        name: str,
        role: Role,
        *,
        password: str | None = None,
        csm: str | None = None,
        own_accounts: bool = False,
        language: Language | None = None,
    ) -> User:
        """Add a person and return them; without a password they come in by the identity provider or a link.

        `name` is what they sign in with (an e-mail, say), unique whatever its case. `csm` is their name in accounts.csm;
        `own_accounts` limits them to the accounts of that name. Raises ConflictError where the name is taken, ValueError
        for an argument that is not allowed.
        """
        row = _new_row(name, role, csm=csm, own_accounts=own_accounts, language=language)
        row["password_hash"] = None if password is None else passwords.hashed(password)
        with self._database.writing() as connection:
            taken = find(connection, UserRow.name_key == row["name_key"])
            if taken is not None:
                state = "" if taken.disabled_at is None else f", disabled since {taken.disabled_at:%Y-%m-%d}"
                raise ConflictError(
                    f"there is a user {taken.name!r} already{state}",
                    self._database.where,
                    "Choose another name; a disabled user comes back by `kunto user enable`.",
                )
            connection.execute(insert(UserRow), [row])
        return _to_user(row)

    def users(self) -> list[User]:
        """Return everybody, disabled people too, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(*UserRow.__table__.columns).order_by(UserRow.created_at, UserRow.user_id))
            return [_to_user(row._asdict()) for row in rows]

    def user(self, user_id: str) -> User:
        """Return the person of this id. Raises UnknownRecordError."""
        return self._one(UserRow.user_id == user_id, f"id {user_id!r}")

    def user_named(self, name: str) -> User:
        """Return the person of this name, whatever its case. Raises UnknownRecordError."""
        return self._one(UserRow.name_key == name_key(name), f"name {name!r}")

    def disable_user(self, user_id: str) -> User:
        """Let a person in no more: sessions and links end now; again changes nothing. Raises UnknownRecordError."""
        with self._database.writing() as connection:
            still = UserRow.disabled_at.is_(None)
            connection.execute(update(UserRow).where(UserRow.user_id == user_id, still).values(disabled_at=now()))
            _end_sessions(connection, user_id)
        return self.user(user_id)

    def enable_user(self, user_id: str) -> User:
        """Let a disabled person in again, by a new sign-in. Raises UnknownRecordError."""
        self._change(user_id, disabled_at=None)
        return self.user(user_id)

    def set_password(self, user_id: str, password: str) -> None:
        """Give a person a new password; their sessions end. Raises UnknownRecordError, ValueError for a short one."""
        password_hash = passwords.hashed(password)
        with self._database.writing() as connection:
            _end_sessions(connection, user_id)
            self._update(connection, user_id, password_hash=password_hash)

    def set_language(self, user_id: str, language: Language | None) -> None:
        """Note the language that a person reads; None: the workspace's. Raises UnknownRecordError."""
        _require_language(language)
        self._change(user_id, language=language)

    def forget_user(self, user_id: str) -> None:
        """Erase a person for good; what they did stays under their id, which then names nobody. Raises UnknownRecordError."""
        with self._database.writing() as connection:
            for table in (SessionRow, SignInLinkRow):
                connection.execute(delete(table).where(table.user_id == user_id))
            if not connection.execute(delete(UserRow).where(UserRow.user_id == user_id)).rowcount:
                raise self._unknown(f"id {user_id!r}")

    def _one(self, condition: ColumnElement[bool], asked: str) -> User:
        with self._database.reading() as connection:
            found = find(connection, condition)
        if found is None:
            raise self._unknown(asked)
        return found

    def _change(self, user_id: str, **values: Any) -> None:
        with self._database.writing() as connection:
            self._update(connection, user_id, **values)

    def _update(self, connection: Connection, user_id: str, **values: Any) -> None:
        if not connection.execute(update(UserRow).where(UserRow.user_id == user_id).values(**values)).rowcount:
            raise self._unknown(f"id {user_id!r}")

    def _unknown(self, asked: str) -> StoreError:
        return UnknownRecordError(f"there is no user of {asked}", self._database.where, "`kunto user list` shows everybody.")


def find(connection: Connection, condition: ColumnElement[bool]) -> User | None:
    """Return the one person of whom the condition holds, if there is one."""
    row = connection.execute(select(*UserRow.__table__.columns).where(condition)).first()
    return None if row is None else _to_user(row._asdict())


def insert_from_provider(connection: Connection, name: str, role: Role, issuer: str, subject: str) -> User:
    """Add a person whom the identity provider names, and return them."""
    row = _new_row(name, role) | {"password_hash": None, "issuer": issuer, "subject": subject}
    connection.execute(insert(UserRow), [row])
    return _to_user(row)


def name_key(name: str) -> str:
    """Return the form in which names are compared: whatever the case, the spaces around, and how a letter is composed.

    >>> name_key(" Maija@Acme.example "), name_key("A" + chr(0x30A)) == name_key("å"), name_key("a" + chr(0))
    ('maija@acme.example', True, 'a?')
    """
    # a database takes neither NUL nor what is no Unicode
    storable = name.encode(errors="replace").decode().replace("\0", "?")
    return unicodedata.normalize("NFKC", storable).strip().casefold()


def _new_row(
    name: str, role: Role, *, csm: str | None = None, own_accounts: bool = False, language: Language | None = None
) -> dict[str, Any]:
    name = name.strip()
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise ValueError(f"name {name!r} must be 1 to {_LONGEST_NAME} printable characters, an e-mail address for instance")
    if role not in ROLE_SCOPES:
        raise ValueError(f"role {role!r} is not known; allowed: {', '.join(ROLE_SCOPES)}")
    if own_accounts and (role == "admin" or not csm):
        raise ValueError(
            f"own_accounts limits a viewer or csm to the accounts of a csm's name; role is {role!r}, csm {csm!r}: name a csm "
            "as accounts.csm has it, and another role than admin"
        )
    _require_language(language)
    return {
        "user_id": uuid.uuid4().hex,
        "name": name,
        "name_key": name_key(name),
        "role": role,
        "csm": csm,
        "own_accounts": own_accounts,
        "language": language,
        "created_at": now(),
        "disabled_at": None,
        "issuer": None,
        "subject": None,
    }


def _require_language(language: str | None) -> None:
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language {language!r} is not known; allowed: {', '.join(LANGUAGES)}")


def _to_user(row: dict[str, Any]) -> User:
    fields = {name: value for name, value in row.items() if name not in ("name_key", "password_hash")}
    return User(**fields, has_password=row["password_hash"] is not None)


def _end_sessions(connection: Connection, user_id: str) -> None:
    going_on = (SessionRow.user_id == user_id, SessionRow.ended_at.is_(None))
    connection.execute(update(SessionRow).where(*going_on).values(ended_at=now()))
    connection.execute(delete(SignInLinkRow).where(SignInLinkRow.user_id == user_id))
