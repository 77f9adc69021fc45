"""Events as they arrive, and the answers given to idempotency keys."""
