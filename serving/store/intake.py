"""`Intake`: events as they arrive, and the answers given to idempotency keys."""

from serving.store.database import Database


class Intake:
    """Events as they arrive, and the answers given to idempotency keys."""

    def __init__(self, database: Database):
        self._database = database
