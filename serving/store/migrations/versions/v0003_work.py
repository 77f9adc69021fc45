"""What people and runs leave behind: inputs of scores, contacts, plays, feedback, free text."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
