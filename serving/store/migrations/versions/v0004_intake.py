"""Events as they arrive, what was erased of them, and the answers given to idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "events",
        sa.Column("event_number", _ROW_NUMBER, nullable=False),
        sa.Column("table_name", sa.String(32), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.String()),
        sa.Column("occurred_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("digest", sa.LargeBinary()),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_number", name="pk_events"),
        sa.UniqueConstraint("table_name", "event_id", name="uq_events_table_name_event_id"),
    )
    op.create_table(
        "event_erasures",
        sa.Column("erasure_number", _ROW_NUMBER, nullable=False),
        sa.Column("erased_at", sa.DateTime(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("erasure_number", name="pk_event_erasures"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("lapses_at", sa.DateTime(), nullable=False),
        sa.Column("body_digest", sa.LargeBinary()),
        sa.Column("answer", sa.JSON()),
        sa.PrimaryKeyConstraint("sender", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_lapses_at", "idempotency_keys", ["lapses_at"])
