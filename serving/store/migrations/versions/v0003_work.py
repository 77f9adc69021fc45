"""What people and runs leave behind: inputs of scores, contacts, plays, feedback, free text.

What was said or computed is append-only; a play and a contact change, and a text can be emptied.
"""

import sqlalchemy as sa
from alembic import op

from serving.store.migrations.append_only import append_only

revision = "0003"
down_revision = "0002"

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NOT_CLOSED = sa.text("state <> 'closed'")


def upgrade() -> None:
    """Create the tables and their triggers."""
    _create_inputs()
    _create_contacts_and_texts()
    _create_feedback()
    _create_plays()
    for table in ("input_columns", "inputs", "feedback", "manual_scores", "play_events"):
        append_only(table)
    op.execute(_open_run("inputs"))


def _open_run(table: str) -> str:
    """Return the trigger by which no row joins a finished run; PostgreSQL's function came with revision 0001."""
    if op.get_context().dialect.name != "sqlite":
        return f"CREATE TRIGGER {table}_open_run BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION kunto_open_run()"
    return (
        f"CREATE TRIGGER {table}_open_run BEFORE INSERT ON {table} "
        "WHEN (SELECT finished_at FROM runs WHERE run_id = NEW.run_id) IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'a finished run takes no rows'); END"
    )


def _key(table: str, column: str, target: str) -> sa.schema.SchemaItem:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def _author() -> tuple[sa.schema.SchemaItem, ...]:
    return (sa.Column("by_kind", sa.String(16), nullable=False), sa.Column("by_id", sa.String(64), nullable=False))


def _create_inputs() -> None:
    op.create_table(
        "input_columns",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_input_columns"),
    )
    op.create_table(
        "inputs",
        sa.Column("input_id", _ROW_NUMBER, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("columns_digest", sa.String(64), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("input_id", name="pk_inputs"),
        _key("inputs", "run_id", "runs.run_id"),
        _key("inputs", "account_key", "accounts.account_key"),
        _key("inputs", "columns_digest", "input_columns.digest"),
        sa.UniqueConstraint("run_id", "account_key", "as_of", name="uq_inputs_run_id_account_key_as_of"),
    )


def _create_contacts_and_texts() -> None:
    op.create_table(
        "contacts",
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_key", "contact_id", name="pk_contacts"),
        _key("contacts", "account_key", "accounts.account_key"),
    )
    op.create_index("ix_contacts_contact_id", "contacts", ["contact_id"])
    op.create_table(
        "texts",
        sa.Column("text_id", sa.Uuid(), nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String()),
        sa.Column("written_at", sa.DateTime(), nullable=False),
        sa.Column("erased_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("text_id", name="pk_texts"),
        _key("texts", "account_key", "accounts.account_key"),
    )
    op.create_index("ix_texts_account_key", "texts", ["account_key"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", _ROW_NUMBER, nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("driver", sa.String(32)),
        sa.Column("verdict", sa.String(16), nullable=False),
        *_author(),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("text_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("feedback_id", name="pk_feedback"),
        _key("feedback", "account_key", "accounts.account_key"),
        _key("feedback", "run_id", "runs.run_id"),
        _key("feedback", "text_id", "texts.text_id"),
    )
    op.create_index("ix_feedback_account_key_at", "feedback", ["account_key", "at"])
    op.create_table(
        "manual_scores",
        sa.Column("manual_score_id", _ROW_NUMBER, nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        *_author(),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("text_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("manual_score_id", name="pk_manual_scores"),
        _key("manual_scores", "account_key", "accounts.account_key"),
        _key("manual_scores", "text_id", "texts.text_id"),
    )
    op.create_index("ix_manual_scores_account_key_at", "manual_scores", ["account_key", "at"])


def _create_plays() -> None:
    op.create_table(
        "plays",
        sa.Column("play_id", sa.Uuid(), nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("playbook", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("snoozed_until", sa.DateTime()),
        sa.Column("closed_at", sa.DateTime()),
        sa.Column("outcome", sa.String(16)),
        sa.Column("assignment", sa.String(16)),
        sa.Column("probability", sa.Double()),
        sa.Column("override", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("play_id", name="pk_plays"),
        _key("plays", "account_key", "accounts.account_key"),
    )
    op.create_index(
        "uq_plays_not_closed",
        "plays",
        ["account_key", "playbook"],
        unique=True,
        sqlite_where=_NOT_CLOSED,
        postgresql_where=_NOT_CLOSED,
    )
    op.create_index("ix_plays_account_key_started_at", "plays", ["account_key", "started_at"])
    op.create_index("ix_plays_started_at_play_id", "plays", ["started_at", "play_id"])
    op.create_table(
        "play_events",
        sa.Column("event_id", _ROW_NUMBER, nullable=False),
        sa.Column("play_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer()),
        sa.Column("until", sa.DateTime()),
        sa.Column("outcome", sa.String(16)),
        *_author(),
        sa.Column("text_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("event_id", name="pk_play_events"),
        _key("play_events", "play_id", "plays.play_id"),
        _key("play_events", "text_id", "texts.text_id"),
        sa.UniqueConstraint("play_id", "version", name="uq_play_events_play_id_version"),
    )
