"""`Access`: who may come in: API keys, users, their sessions, and the audit log."""

from serving.store.database import Database


class Access:
    """Who may come in: API keys, users, their sessions, and the audit log."""

    def __init__(self, database: Database):
        self._database = database
