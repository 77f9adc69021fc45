"""Who may come in: API keys, users, their sessions, and the audit log, which is append-only by triggers."""

import sqlalchemy as sa
from alembic import op

from serving.store.migrations.append_only import append_only

revision = "0002"
down_revision = "0001"

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables and the triggers of the audit log."""
    _create_keys_and_secrets()
    _create_users()
    _create_sessions_and_links()
    _create_attempts()
    _create_audit_log()


def _create_keys_and_secrets() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
        sa.Column("last_used_day", sa.Date()),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("name_key", sa.String(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String()),
        sa.Column("csm", sa.String()),
        sa.Column("own_accounts", sa.Boolean(), nullable=False),
        sa.Column("language", sa.String(2)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("disabled_at", sa.DateTime()),
        sa.Column("issuer", sa.String()),
        sa.Column("subject", sa.String()),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
        sa.UniqueConstraint("name_key", name="uq_users_name_key"),
        sa.UniqueConstraint("issuer", "subject", name="uq_users_issuer_subject"),
    )


def _create_sessions_and_links() -> None:
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_sessions_user_id"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "sign_in_links",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("used_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("digest", name="pk_sign_in_links"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_sign_in_links_user_id"),
    )
    op.create_index("ix_sign_in_links_user_id", "sign_in_links", ["user_id"])


def _create_attempts() -> None:
    op.create_table(
        "sign_in_attempts",
        sa.Column("attempt_id", _ROW_NUMBER, nullable=False),
        sa.Column("name_digest", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_sign_in_attempts"),
    )
    op.create_index("ix_sign_in_attempts_name_digest_at", "sign_in_attempts", ["name_digest", "at"])
    op.create_index("ix_sign_in_attempts_at", "sign_in_attempts", ["at"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("audit_id", _ROW_NUMBER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("principal_kind", sa.String(16), nullable=False),
        sa.Column("principal_id", sa.String(64)),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object", sa.String(200)),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.PrimaryKeyConstraint("audit_id", name="pk_audit_log"),
    )
    append_only("audit_log")
