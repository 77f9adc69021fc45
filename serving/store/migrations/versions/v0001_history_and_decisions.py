"""Accounts, runs, score history and the decision log; history is append-only by triggers.

A finished run is fixed: neither it nor its rows can change, and no row can join it. That is what keeps the answer to
"what stood then" the same for ever.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_LOGS = ("scores", "decisions")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables and their triggers."""
    _create_accounts_and_runs()
    _create_scores()
    _create_decisions()
    triggers = _sqlite_triggers() if op.get_context().dialect.name == "sqlite" else _postgresql_triggers()
    for trigger in triggers:
        op.execute(trigger)


def _create_accounts_and_runs() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.String()),
        sa.Column("name", sa.String()),
        sa.Column("csm", sa.String()),
        sa.Column("erased_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("account_key", name="pk_accounts"),
        sa.UniqueConstraint("account_id", name="uq_accounts_account_id"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.UniqueConstraint("finished_at", name="uq_runs_finished_at"),
    )


def _log_columns(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("account_key", sa.Uuid(), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=f"fk_{table}_run_id"),
        sa.ForeignKeyConstraint(["account_key"], ["accounts.account_key"], name=f"fk_{table}_account_key"),
        sa.UniqueConstraint("run_id", "account_key", "as_of", name=f"uq_{table}_run_id_account_key_as_of"),
    )


def _create_scores() -> None:
    op.create_table(
        "scores",
        sa.Column("score_id", _ROW_NUMBER, nullable=False),
        *_log_columns("scores"),
        sa.Column("scored_at", sa.DateTime(), nullable=False),
        sa.Column("health_score", sa.Integer()),
        sa.Column("band", sa.String(16)),
        sa.Column("p_churn", sa.Double()),
        sa.Column("arr_at_risk", sa.Double()),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("score_id", name="pk_scores"),
    )
    op.create_index("ix_scores_account_key_as_of", "scores", ["account_key", "as_of"])


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("decision_id", _ROW_NUMBER, nullable=False),
        *_log_columns("decisions"),
        sa.Column("decided_at", sa.DateTime(), nullable=False),
        sa.Column("playbook", sa.String(64)),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("assignment", sa.String(16)),
        sa.Column("probability", sa.Double()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("known", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_account_key_decided_at", "decisions", ["account_key", "decided_at"])


def _sqlite_triggers() -> list[str]:
    triggers = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for table in _LOGS
        for verb in ("UPDATE", "DELETE")
    ]
    triggers += [
        f"CREATE TRIGGER {table}_open_run BEFORE INSERT ON {table} "
        "WHEN (SELECT finished_at FROM runs WHERE run_id = NEW.run_id) IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'a finished run takes no rows'); END"
        for table in _LOGS
    ]
    triggers += [
        f"CREATE TRIGGER runs_no_{verb.lower()} BEFORE {verb} ON runs WHEN OLD.finished_at IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'a finished run is fixed'); END"
        for verb in ("UPDATE", "DELETE")
    ]
    return triggers


def _postgresql_triggers() -> list[str]:
    functions = [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        for name, body in {
            "kunto_append_only": _refuse("% is append-only", "TG_TABLE_NAME"),
            "kunto_fixed_run": _refuse("a finished run is fixed"),
            "kunto_open_run": "IF (SELECT finished_at FROM runs WHERE run_id = NEW.run_id) IS NOT NULL THEN "
            f"{_refuse('a finished run takes no rows')} END IF; RETURN NEW;",
        }.items()
    ]
    triggers = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} EXECUTE FUNCTION kunto_append_only()"
        for table in _LOGS
        for verb in ("UPDATE", "DELETE", "TRUNCATE")
    ]
    triggers += [
        f"CREATE TRIGGER {table}_open_run BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION kunto_open_run()"
        for table in _LOGS
    ]
    triggers += [
        "CREATE TRIGGER runs_no_change BEFORE UPDATE OR DELETE ON runs FOR EACH ROW "
        "WHEN (OLD.finished_at IS NOT NULL) EXECUTE FUNCTION kunto_fixed_run()",
        "CREATE TRIGGER runs_no_truncate BEFORE TRUNCATE ON runs EXECUTE FUNCTION kunto_fixed_run()",
    ]
    return functions + triggers


def _refuse(message: str, *arguments: str) -> str:
    return f"RAISE EXCEPTION {', '.join([repr(message), *arguments])} USING ERRCODE = 'restrict_violation';"
