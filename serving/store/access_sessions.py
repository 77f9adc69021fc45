"""Signing in: by password, by the identity provider, by a link; and the sessions that come of it.

Whoever guesses is held up by name, in the database, so that every worker counts together: each attempt is noted before
its password is looked at (attempts made at once count too), and taken back when it was right.
"""

import math
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from serving.principal import Principal, Role
from serving.store import passwords
from serving.store.access_records import ProviderIdentity, SignInError, User
from serving.store.access_users import find, insert_from_provider, name_key
from serving.store.database import Database
from serving.store.errors import UnknownRecordError
from serving.store.instants import now
from serving.store.tables.access import SessionRow, SignInAttemptRow, SignInLinkRow, UserRow
from serving.store.tokens import digest, new_token

#: So many failures for one name within so long, and the name is refused until the first of them is that old.
FAILURES, WINDOW = 5, timedelta(minutes=15)


class SignIns:
    """Sign-ins and the sessions that they begin; a token is in the person's cookie, its SHA-256 here."""

    def __init__(self, database: Database):
        self._database = database

    def sign_in(self, name: str, password: str, at: datetime, hours: float) -> str:
        """Begin a session of `hours` and return its token. Raises SignInError: `wrong`, or `throttled` with the time left.

        An unknown name, one without a password and a disabled person are `wrong` too, after the same work.
        """
        attempted = digest(name_key(name))
        with self._database.writing() as connection:
            _note_attempt(connection, attempted, at)
            row = connection.execute(
                select(UserRow.user_id, UserRow.password_hash, UserRow.disabled_at).where(UserRow.name_key == name_key(name))
            ).first()
        right, better = passwords.verify(password, None if row is None else row.password_hash)
        if row is None or not right or row.disabled_at is not None:
            raise SignInError("wrong", user_id=None if row is None else row.user_id)
        with self._database.writing() as connection:
            # a password changed meanwhile has ended the sessions of the old one, this one too
            unchanged = (UserRow.user_id == row.user_id, UserRow.password_hash == row.password_hash)
            kept = connection.execute(update(UserRow).where(*unchanged).values(password_hash=better or row.password_hash))
            if not kept.rowcount:
                raise SignInError("wrong", user_id=row.user_id)
            connection.execute(delete(SignInAttemptRow).where(SignInAttemptRow.name_digest == attempted))
            return _begin(connection, row.user_id, at, hours, SignInError("wrong", user_id=row.user_id))

    def sign_in_by_provider(self, identity: ProviderIdentity, at: datetime, hours: float, new_users: Role | None) -> str:
        """Begin a session for a person whom the identity provider has identified, and return its token.

        Found by issuer and subject; else, once, by the verified e-mail as the name of a user whom no identity is bound to,
        which binds this one; else added with the role `new_users`. Raises SignInError `unknown` for anybody else.
        """
        bound = (UserRow.issuer == identity.issuer) & (UserRow.subject == identity.subject)
        with self._database.writing() as connection:
            user = find(connection, bound) or _bind(connection, identity) or _add(connection, identity, new_users)
            if user is None:
                raise SignInError("unknown")
            return _begin(connection, user.user_id, at, hours, SignInError("unknown", user_id=user.user_id))

    def create_link(self, name: str, minutes: float, *, at: datetime | None = None) -> str:
        """Return the token of a link that signs the user in once, within so many minutes from `at` (None: now).

        Raises UnknownRecordError where nobody of that name may sign in.
        """
        token, at = new_token(), at or now()
        with self._database.writing() as connection:
            user = find(connection, (UserRow.name_key == name_key(name)) & UserRow.disabled_at.is_(None))
            if user is None:
                raise UnknownRecordError(
                    f"no user of name {name!r} may sign in", self._database.where, "`kunto user list` shows everybody."
                )
            row = {"digest": digest(token), "user_id": user.user_id, "expires_at": at + timedelta(minutes=minutes)}
            connection.execute(delete(SignInLinkRow).where(SignInLinkRow.expires_at <= at))
            connection.execute(insert(SignInLinkRow), [row | {"used_at": None}])
        return token

    def redeem_link(self, token: str, at: datetime, hours: float) -> str:
        """Begin a session for the link's person and return its token; of several at once, one succeeds.

        Raises SignInError `link` where the link is unknown, used or expired, or the person disabled.
        """
        fresh = (SignInLinkRow.digest == digest(token), SignInLinkRow.used_at.is_(None), SignInLinkRow.expires_at > at)
        with self._database.writing() as connection:
            user_id = connection.scalar(update(SignInLinkRow).where(*fresh).values(used_at=at).returning(SignInLinkRow.user_id))
            if user_id is None:
                raise SignInError("link")
            return _begin(connection, user_id, at, hours, SignInError("link", user_id=user_id))

    def principal_of_session(self, token: str, at: datetime) -> Principal | None:
        """Return who is signed in; None where the session is unknown, over by `at`, or its person disabled. One read."""
        session = select(SessionRow.user_id).where(
            SessionRow.digest == digest(token), SessionRow.ended_at.is_(None), SessionRow.expires_at > at
        )
        with self._database.reading() as connection:
            user = find(connection, (UserRow.user_id == session.scalar_subquery()) & UserRow.disabled_at.is_(None))
        return None if user is None else user.principal

    def sign_out(self, token: str, at: datetime) -> None:
        """End the session; one that is over or unknown stays so."""
        session = (SessionRow.digest == digest(token), SessionRow.ended_at.is_(None))
        with self._database.writing() as connection:
            connection.execute(update(SessionRow).where(*session).values(ended_at=at))


def _note_attempt(connection: Connection, attempted: str, at: datetime) -> None:
    """Count an attempt as failed until it is right; SignInError where there were too many."""
    connection.execute(delete(SignInAttemptRow).where(SignInAttemptRow.at <= at - WINDOW))
    earlier = select(SignInAttemptRow.at).where(SignInAttemptRow.name_digest == attempted)
    latest = connection.scalars(earlier.order_by(SignInAttemptRow.at.desc()).limit(FAILURES)).all()
    if len(latest) == FAILURES:
        raise SignInError("throttled", wait_s=math.ceil((latest[-1] + WINDOW - at).total_seconds()))
    connection.execute(insert(SignInAttemptRow), [{"name_digest": attempted, "at": at}])


def _begin(connection: Connection, user_id: str, at: datetime, hours: float, refused: SignInError) -> str:
    """Begin a session, unless the person is disabled; sessions that are over are cleared away."""
    if find(connection, (UserRow.user_id == user_id) & UserRow.disabled_at.is_(None)) is None:
        raise refused
    token = new_token()
    row = {"digest": digest(token), "user_id": user_id, "created_at": at, "expires_at": at + timedelta(hours=hours)}
    connection.execute(delete(SessionRow).where(SessionRow.expires_at <= at))
    connection.execute(insert(SessionRow), [row | {"ended_at": None}])
    return token


def _bind(connection: Connection, identity: ProviderIdentity) -> User | None:
    """Bind the identity to the user whose name is its verified e-mail, if there is one without an identity."""
    if identity.email is None:
        return None
    user = find(connection, (UserRow.name_key == name_key(identity.email)) & UserRow.issuer.is_(None))
    if user is not None:
        bound = {"issuer": identity.issuer, "subject": identity.subject}
        connection.execute(update(UserRow).where(UserRow.user_id == user.user_id).values(**bound))
    return user


def _add(connection: Connection, identity: ProviderIdentity, new_users: Role | None) -> User | None:
    """Add the person under their verified e-mail, else their subject, if newcomers are let in and the name is free."""
    name = identity.email or identity.subject
    if new_users is None or find(connection, UserRow.name_key == name_key(name)) is not None:
        return None
    return insert_from_provider(connection, name, new_users, identity.issuer, identity.subject)
