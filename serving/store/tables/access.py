"""Who may come in: API keys, users, their sessions, and the audit log. No secret is kept, only what recognises it."""

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables.base import ROW_NUMBER, Base

#: A SHA-256 in hexadecimal.
_DIGEST = String(64)


class ApiKeyRow(Base):
    """A key of another system: `digest` recognises its text, `scopes` stand apart by spaces."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(_DIGEST, unique=True)
    name: Mapped[str]
    scopes: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_day: Mapped[date | None]


class UserRow(Base):
    """A person: `name_key` is the name as it is compared; without a hash they come in by the identity provider alone."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    user_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None]
    csm: Mapped[str | None]
    own_accounts: Mapped[bool]
    language: Mapped[str | None] = mapped_column(String(2))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    issuer: Mapped[str | None]
    subject: Mapped[str | None]


class SessionRow(Base):
    """A signed-in browser; `digest` recognises the token in its cookie."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]


class SignInLinkRow(Base):
    """A link that signs a person in, once."""

    __tablename__ = "sign_in_links"

    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), index=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInAttemptRow(Base):
    """A sign-in that did not succeed (yet), by the digest of the name given: it may be any text, a password even."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index(None, "name_digest", "at"),)

    attempt_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    name_digest: Mapped[str] = mapped_column(_DIGEST)
    at: Mapped[datetime] = mapped_column(index=True)


class AuditRow(Base):
    """Who did what, append-only: ids alone, and on purpose no foreign key, so that a person's row can be erased."""

    __tablename__ = "audit_log"

    audit_id: Mapped[int] = mapped_column(ROW_NUMBER, primary_key=True)
    at: Mapped[datetime]
    principal_kind: Mapped[str] = mapped_column(String(16))
    principal_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str | None] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(32))
    request_id: Mapped[str | None] = mapped_column(String(64))


class SecretRow(Base):
    """A random text of this workspace that all its workers share, made once."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]
    created_at: Mapped[datetime]
