"""API keys: made, listed, revoked, recognised; and the secrets that the workers of one workspace share."""

from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import insert, or_, select, update

from serving.principal import SCOPES, Principal, Scope
from serving.store.access_records import ApiKey
from serving.store.database import Database
from serving.store.errors import UnknownRecordError
from serving.store.instants import now, utc
from serving.store.tables.access import ApiKeyRow, SecretRow
from serving.store.tokens import KEY_PREFIX, digest, new_id, new_token

_KEY = (
    ApiKeyRow.key_id,
    ApiKeyRow.name,
    ApiKeyRow.scopes,
    ApiKeyRow.created_at,
    ApiKeyRow.expires_at,
    ApiKeyRow.revoked_at,
    ApiKeyRow.last_used_day,
)
_LENGTH = len(KEY_PREFIX) + len(new_token())


class ApiKeys:
    """Keys of other systems."""

    def __init__(self, database: Database):
        self._database = database

    def create_key(self, name: str, scopes: Iterable[Scope], *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """Make a key and return it with its text, which is shown this once and kept nowhere.

        Several keys may have one name, so that a new one can take over before the old one is revoked. Raises ValueError
        for an empty name, no scope, a scope that does not exist, or an expiry that has passed.
        """
        given = set(scopes)
        if not name.strip():
            raise ValueError(f"name {name!r} is empty; name the system that will hold the key")
        if not given or not given <= set(SCOPES):
            raise ValueError(f"scopes {', '.join(sorted(given)) or '(none)'} must be one or more of {', '.join(SCOPES)}")
        created_at, expires_at = now(), None if expires_at is None else utc(expires_at)
        if expires_at is not None and expires_at <= created_at:
            raise ValueError(f"expires_at {expires_at} has passed; give an instant to come, or none")
        text = KEY_PREFIX + new_token()
        # in the order of SCOPES, whatever the order given
        kept = tuple(scope for scope in SCOPES if scope in given)
        key = ApiKey(new_id(), name.strip(), kept, created_at, expires_at, None, None)
        row = {"key_id": key.key_id, "digest": digest(text), "name": key.name, "scopes": " ".join(kept)}
        with self._database.writing() as connection:
            connection.execute(insert(ApiKeyRow), [row | {"created_at": created_at, "expires_at": expires_at}])
        return key, text

    def keys(self) -> list[ApiKey]:
        """Return every key, revoked and expired ones too, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(*_KEY).order_by(ApiKeyRow.created_at, ApiKeyRow.key_id))
            return [_to_key(*row) for row in rows]

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key for good and return it; again changes nothing. Raises UnknownRecordError.

        Workers recognise it no more within `serving.credentials.LIFE`.
        """
        with self._database.writing() as connection:
            connection.execute(
                update(ApiKeyRow).where(ApiKeyRow.key_id == key_id, ApiKeyRow.revoked_at.is_(None)).values(revoked_at=now())
            )
            row = connection.execute(select(*_KEY).where(ApiKeyRow.key_id == key_id)).first()
        if row is None:
            raise UnknownRecordError(
                f"there is no key {key_id!r}", self._database.where, "`kunto key list` shows the ids of all keys."
            )
        return _to_key(*row)

    def principal_of_key(self, text: str, at: datetime) -> Principal | None:
        """Return who holds the key; None where it is unknown, revoked, or expired by `at`. One indexed read."""
        if len(text) != _LENGTH or not text.startswith(KEY_PREFIX):
            return None
        with self._database.reading() as connection:
            row = connection.execute(
                select(ApiKeyRow.key_id, ApiKeyRow.name, ApiKeyRow.scopes).where(
                    ApiKeyRow.digest == digest(text),
                    ApiKeyRow.revoked_at.is_(None),
                    or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > at),
                )
            ).first()
        return None if row is None else Principal("key", row.key_id, row.name, frozenset(row.scopes.split()))

    def note_key_use(self, key_id: str, day: date) -> None:
        """Note that the key was used on a day; the callers do so once a day, not per request."""
        with self._database.writing() as connection:
            earlier = or_(ApiKeyRow.last_used_day.is_(None), ApiKeyRow.last_used_day < day)
            connection.execute(update(ApiKeyRow).where(ApiKeyRow.key_id == key_id, earlier).values(last_used_day=day))

    def secret(self, name: str) -> str:
        """Return the random text of this name: of this workspace alone, made at first asking, the same for every worker."""
        query = select(SecretRow.value).where(SecretRow.name == name)
        with self._database.reading() as connection:
            found = connection.scalar(query)
        if found is None:
            with self._database.writing() as connection:
                found = connection.scalar(query)
                if found is None:
                    found = new_token()
                    connection.execute(insert(SecretRow), [{"name": name, "value": found, "created_at": now()}])
        return found


def _to_key(
    key_id: str,
    name: str,
    scopes: str,
    created_at: datetime,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    last_used_day: date | None,
) -> ApiKey:
    kept = tuple(scope for scope in SCOPES if scope in scopes.split())
    return ApiKey(key_id, name, kept, created_at, expires_at, revoked_at, last_used_day)
