"""Secrets that Kunto draws, and what it keeps of them.

Only a SHA-256 is kept. The texts carry 256 random bits, so nobody can guess one from its digest, and a slow hash as for
passwords would only slow each request. A row is found by the digest: how long that takes tells nothing about the text.
"""

import hashlib
import secrets

#: How a key begins, so that people and secret scanners know one when they see it.
KEY_PREFIX = "kunto_"
_BYTES = 32


def new_token() -> str:
    """Return 256 random bits as url-safe text.

    >>> len(new_token()), new_token() == new_token()
    (43, False)
    """
    return secrets.token_urlsafe(_BYTES)


def new_id() -> str:
    """Return a short random id that may be seen by anybody.

    >>> len(new_id())
    12
    """
    return secrets.token_hex(6)


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal; text that is not Unicode has one too.

    >>> digest("kunto")[:8], digest(chr(0xD800))[:8]
    ('f98373aa', '8a8de823')
    """
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
