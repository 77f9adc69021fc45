"""Passwords: argon2 hashes, and the same work whether or not there is one to compare with."""

import functools
import secrets
import threading
import unicodedata

from pwdlib import PasswordHash

SHORTEST, LONGEST = 12, 1024
_HASHER = PasswordHash.recommended()
#: A hash takes 64 MiB: this many at once, so that a crowd of sign-ins does not take the memory of the service.
_AT_ONCE = threading.BoundedSemaphore(2)


def hashed(password: str) -> str:
    """Return the argon2 hash of a new password; ValueError where it is too short or too long (its text is not told)."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValueError(f"the password has {len(password)} characters; give {SHORTEST} to {LONGEST}")
    with _AT_ONCE:
        return _HASHER.hash(_normal(password))


def verify(password: str, kept: str | None) -> tuple[bool, str | None]:
    """Return whether the password is the one of the hash, and a new hash where the kept one is weaker than today's.

    Without a hash the password is compared with that of nobody: an unknown name takes the time of a known one.
    """
    nobody = _of_nobody()
    possible = kept is not None and len(password) <= LONGEST
    with _AT_ONCE:
        right, better = _HASHER.verify_and_update(_normal(password[:LONGEST]), kept or nobody)
    return (right, better) if possible else (False, None)


@functools.cache
def _of_nobody() -> str:
    with _AT_ONCE:
        return _HASHER.hash(secrets.token_bytes(32))


def _normal(password: str) -> bytes:
    """One form of the characters that keyboards and systems compose differently (ä, å)."""
    return unicodedata.normalize("NFKC", password).encode(errors="replace")
