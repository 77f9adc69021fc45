"""Events as they arrive, and the answers given to idempotency keys."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
