"""Who may come in: API keys, users, their sessions, and the audit log."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
