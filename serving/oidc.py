"""Signing in with the company's identity provider: OpenID Connect, code flow with PKCE and nonce (Authlib)."""

import os
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.datastructures import Secret
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.session_cookie import cookie_name, is_https
from serving.settings import OidcSettings, ServiceSettings
from serving.store.access_records import ProviderIdentity

with warnings.catch_warnings():
    # Authlib tells its developers, through a filter of its own, about the HTTP client of a later version
    from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.starlette_client import OAuth  # type: ignore[import-untyped]

#: Where the flow begins, and where the provider sends people back to (registered there).
START, CALLBACK = "/sign-in/oidc", "/sign-in/oidc/callback"
_COOKIE = "kunto_oidc"
#: How long a person may take at the provider, and the provider to answer Kunto, in seconds.
_MOST_AT_PROVIDER, _TIMEOUT = 600, 10.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


class OidcError(Exception):
    """The provider did not identify the person; the message is for the log."""


class OidcSettingsError(ValueError):
    """`[service.oidc]` cannot be used; the message says which key and what to set."""


class Provider:
    """The company's identity provider."""

    def __init__(self, settings: OidcSettings, base_url: str = "") -> None:
        """Take the settings and the client's secret; OidcSettingsError where they cannot work. Nothing is fetched yet."""
        self._issuer, self._base_url = settings.issuer.rstrip("/"), base_url.rstrip("/")
        self._client_id = settings.client_id
        oauth = OAuth()
        self._client: Any = oauth.register(
            "oidc",
            client_id=settings.client_id,
            client_secret=_client_secret(settings),
            server_metadata_url=f"{self._issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.scope,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT,
                # made once: Authlib makes a client per call, and each would read all certificates anew
                "verify": httpx.create_ssl_context(),
            },
        )

    async def start(self, request: Request) -> Response:
        """Send the person to the provider; what the answer must match goes into a signed cookie. Raises OidcError."""
        callback = (self._base_url or str(request.base_url).rstrip("/")) + CALLBACK
        try:
            response: Response = await self._client.authorize_redirect(request, callback)
        except Exception as error:
            raise OidcError(_told(error)) from error
        return response

    async def finish(self, request: Request) -> ProviderIdentity:
        """Return whom the provider sent back, once state, nonce, signature, issuer, audience and time hold; else OidcError."""
        # Some providers' issuer ends with a slash, and people leave it out.
        expected: dict[str, dict[str, Any]] = {
            "iss": {"essential": True, "values": [self._issuer, f"{self._issuer}/"]},
            "aud": {"essential": True, "values": [self._client_id]},
        }
        try:
            token = await self._client.authorize_access_token(request, claims_options=expected)
            claims: Mapping[str, Any] | None = token.get("userinfo")
            if claims is None:
                raise OidcError("the provider's answer holds no ID token")
            if "email" not in claims:
                claims = await self._with_email(token, claims)
        except OidcError:
            raise
        # whatever a provider or a browser sends, the person comes back to the sign-in page
        except Exception as error:
            raise OidcError(_told(error)) from error
        email = claims.get("email") if claims.get("email_verified") is True else None
        return ProviderIdentity(self._issuer, str(claims["sub"]), email if isinstance(email, str) else None)

    async def _with_email(self, token: Mapping[str, Any], claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims with those of the userinfo endpoint, where providers may keep the e-mail (OpenID Connect Core 5.4)."""
        if "userinfo_endpoint" not in await self._client.load_server_metadata():
            return claims
        more = await self._client.userinfo(token=token)
        if more.get("sub") != claims["sub"]:
            raise OidcError("the userinfo endpoint speaks of another subject than the ID token")
        return {**more, **claims}


class OidcState(SessionMiddleware):
    """Keeps the state of a sign-in under way in a signed cookie; other requests pass untouched."""

    def __init__(self, app: ASGIApp, secret: Secret, settings: ServiceSettings) -> None:
        super().__init__(
            app,
            secret,
            cookie_name(settings.base_url, _COOKIE),
            max_age=_MOST_AT_PROVIDER,
            https_only=is_https(settings.base_url),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its state where it belongs to such a sign-in."""
        if START in scope.get("path", ""):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _client_secret(settings: OidcSettings) -> str:
    place = urlsplit(settings.issuer)
    if place.scheme != "https" and not (place.scheme == "http" and place.hostname in _LOCAL):
        raise OidcSettingsError(
            f"service.oidc.issuer {settings.issuer!r} must begin with https:// (http:// on this machine alone); give the address "
            "under which the provider publishes /.well-known/openid-configuration"
        )
    if "openid" not in settings.scope.split():
        raise OidcSettingsError(f"service.oidc.scope {settings.scope!r} must hold openid; the default is 'openid email profile'")
    secret = os.environ.get(settings.client_secret_variable, "")
    if not secret:
        raise OidcSettingsError(
            f"the environment variable {settings.client_secret_variable} (service.oidc.client_secret_variable) is not set; "
            "set it to the secret of the client that the provider registered"
        )
    return secret


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
