"""Jobs: the lock, the runs, the steps of each and what they reported."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "job_locks",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("lapses_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_job_locks"),
    )
    op.create_table(
        "job_runs",
        sa.Column("job_run_id", _ROW_NUMBER, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("job_run_id", name="pk_job_runs"),
    )
    op.create_table(
        "job_steps",
        sa.Column("step_id", _ROW_NUMBER, nullable=False),
        sa.Column("job_run_id", _ROW_NUMBER, nullable=False),
        sa.Column("step", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("error", sa.String()),
        sa.PrimaryKeyConstraint("step_id", name="pk_job_steps"),
        sa.ForeignKeyConstraint(["job_run_id"], ["job_runs.job_run_id"], name="fk_job_steps_job_run_id"),
        sa.UniqueConstraint("job_run_id", "step", name="uq_job_steps_job_run_id_step"),
    )
