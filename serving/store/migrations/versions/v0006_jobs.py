"""Jobs: the lock, the steps that are done, the reports."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables."""
