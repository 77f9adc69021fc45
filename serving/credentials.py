"""Keys and sessions as a worker recognises them: asked of the store, then remembered for a moment.

So that a request need not wait for the database to learn who asks. What that costs: a key that is revoked or expires, and a
person who is disabled, are let in for up to `LIFE` longer. Signing out holds at once in the worker that did it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta

import structlog

from serving.principal import Principal
from serving.session_cookie import csrf_of
from serving.store import StoreError
from serving.store.access import Access
from serving.store.tokens import digest

Clock = Callable[[], datetime]
#: How long an answer of the store is believed.
LIFE = timedelta(seconds=5)
#: So many credentials are remembered at once; past it all are asked anew.
_MOST = 10_000


class _Remembered:
    """Principals by the digest of their secret: the secrets themselves are not kept in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Principal, datetime]] = {}

    def get(self, secret: str) -> Principal | None:
        found = self._known.get(digest(secret))
        # not before either: the clock of a machine can be set back
        fresh = found is not None and timedelta() <= self._clock() - found[1] < LIFE
        return found[0] if found is not None and fresh else None

    def put(self, secret: str, principal: Principal | None, at: datetime) -> None:
        if principal is None:
            self.drop(secret)
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[digest(secret)] = (principal, at)

    def drop(self, secret: str) -> None:
        self._known.pop(digest(secret), None)


class Keys:
    """API keys, recognised; the day of use is noted once a day, beside the request and not in it."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access, self._clock = access, clock
        self._remembered = _Remembered(clock)
        self._noted: dict[str, date] = {}
        # a note waits for whoever writes the database just now; the request that it is about does not
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="key-use")

    def cached(self, text: str) -> Principal | None:
        """Return who holds the key, where that was asked a moment ago; never waits."""
        return self._remembered.get(text)

    def principal(self, text: str) -> Principal | None:
        """Return who holds the key; None where it is unknown, revoked or expired. May read the database."""
        known = self.cached(text)
        if known is not None:
            return known
        at = self._clock()
        found = self._access.principal_of_key(text, at)
        self._remembered.put(text, found, at)
        if found is not None and self._noted.get(found.id) != at.date():
            self._noted[found.id] = at.date()
            self._notes.submit(self._note, found.id, at.date())
        return found

    def close(self) -> None:
        """Write the notes that wait, and take no more."""
        self._notes.shutdown()

    def _note(self, key_id: str, day: date) -> None:
        try:
            self._access.note_key_use(key_id, day)
        except StoreError as error:
            self._noted.pop(key_id, None)  # the next request tries again
            structlog.get_logger("kunto.access").warning("key_use_not_noted", key=key_id, error=str(error))


class Sessions:
    """Sessions of people, recognised."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access, self._clock = access, clock
        self._remembered = _Remembered(clock)

    def cached(self, token: str) -> Principal | None:
        """Return who is signed in, where that was asked a moment ago; never waits."""
        return self._remembered.get(token)

    def principal(self, token: str) -> Principal | None:
        """Return who is signed in; None where the session is unknown or over. May read the database."""
        known = self.cached(token)
        if known is not None:
            return known
        at = self._clock()
        found = self._access.principal_of_session(token, at)
        self._remembered.put(token, found, at)
        return found

    def sign_out(self, token: str) -> None:
        """End the session."""
        self._access.sign_out(token, self._clock())
        self._remembered.drop(token)

    def csrf(self, token: str) -> str:
        """Return the text that the session's forms carry."""
        return csrf_of(token)
