"""Webhooks, the events waiting for them, and their deliveries."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
