"""`Outbox`: webhooks, the events waiting for them, and their deliveries."""

from serving.store.database import Database


class Outbox:
    """Webhooks, the events waiting for them, and their deliveries."""

    def __init__(self, database: Database):
        self._database = database
