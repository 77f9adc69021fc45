"""The cookie of a session, and how a request shows that it comes from Kunto's own pages."""

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from serving.settings import ServiceSettings

_NAME = "kunto_session"
_PURPOSE = b"kunto csrf"


def cookie_name(base_url: str, name: str = _NAME) -> str:
    """Return the cookie's name: with `__Host-` where people come by https, so that no neighbouring site can set it.

    >>> cookie_name("https://kunto.example"), cookie_name("")
    ('__Host-kunto_session', 'kunto_session')
    """
    return f"__Host-{name}" if is_https(base_url) else name


def is_https(base_url: str) -> bool:
    """Whether people reach the service by https, as far as `service.base_url` says."""
    return urlsplit(base_url).scheme == "https"


def session_token(request: Request) -> str | None:
    """Return the session's token that the request carries, known or not."""
    return request.cookies.get(cookie_name(_settings(request).base_url)) or None


def set_session(response: Response, token: str, settings: ServiceSettings) -> None:
    """Have the browser keep a session's token as long as the session lasts; no script can read it."""
    response.set_cookie(
        cookie_name(settings.base_url),
        token,
        max_age=round(settings.session_hours * 3600),
        path="/",
        secure=is_https(settings.base_url),
        httponly=True,
        samesite="lax",
    )


def clear_session(response: Response, settings: ServiceSettings) -> None:
    """Have the browser drop the session's token."""
    response.delete_cookie(
        cookie_name(settings.base_url), path="/", secure=is_https(settings.base_url), httponly=True, samesite="lax"
    )


def csrf_of(token: str) -> str:
    """Return the text that a form of this session carries; the session's token cannot be told from it.

    >>> csrf_of("a") == csrf_of("a"), csrf_of("a") == csrf_of("b"), len(csrf_of("a"))
    (True, False, 64)
    """
    return hmac.new(token.encode(errors="replace"), _PURPOSE, hashlib.sha256).hexdigest()


def same_origin(headers: Headers, base_url: str = "") -> bool:
    """Whether a browser says that the request comes from this site's own page; one that says nothing does not.

    >>> same_origin(Headers({"sec-fetch-site": "cross-site"})), same_origin(Headers({}))
    (False, False)
    >>> same_origin(Headers({"origin": "https://kunto.example", "host": "10.0.0.7:8000"}), "https://kunto.example/")
    True
    """
    fetched = headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched == "same-origin"
    place = headers.get("origin", "").partition("://")[2]
    return bool(place) and place in (headers.get("host"), urlsplit(base_url).netloc)


def _settings(request: Request) -> ServiceSettings:
    found: ServiceSettings = request.app.state.service.settings
    return found
