"""What goes into and comes out of `Access`. Every instant is naive UTC."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from models.sentences import Language
from serving.principal import ROLE_SCOPES, Principal, Role, Scope

#: Why a sign-in was refused; `unknown` is a person whom the identity provider knows and Kunto does not let in.
Refusal = Literal["wrong", "throttled", "link", "unknown"]


@dataclass(frozen=True)
class ApiKey:
    """A key of another system, without its text; `last_used_day` is a UTC day."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_day: date | None


@dataclass(frozen=True)
class User:
    """A person who may sign in; `csm` is their name in accounts.csm, `own_accounts` limits them to those accounts."""

    user_id: str
    name: str
    role: Role
    csm: str | None
    own_accounts: bool
    language: Language | None
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    issuer: str | None
    subject: str | None

    @property
    def principal(self) -> Principal:
        """Who they are to the API: limited without a name to be limited to, they see no account."""
        limit = (self.csm or "") if self.own_accounts else None
        return Principal("user", self.user_id, self.name, frozenset(ROLE_SCOPES[self.role]), self.role, limit, self.language)


@dataclass(frozen=True)
class ProviderIdentity:
    """A person as the identity provider names them; `email` only where the provider has verified it."""

    issuer: str
    subject: str
    email: str | None


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to what, with which outcome; `audit_id` rises with time."""

    audit_id: int
    at: datetime
    principal_kind: str
    principal_id: str | None
    action: str
    object: str | None
    outcome: str
    request_id: str | None


class SignInError(Exception):
    """A sign-in that is refused: why, how many seconds to wait (throttled), and whom it was aimed at, for the audit log."""

    def __init__(self, refusal: Refusal, *, wait_s: int = 0, user_id: str | None = None):
        super().__init__(f"sign-in refused: {refusal}" + (f", wait {wait_s} s" if wait_s else ""))
        self.refusal, self.wait_s, self.user_id = refusal, wait_s, user_id
