"""`Jobs`: jobs: the lock, the steps that are done, the reports."""

from serving.store.database import Database


class Jobs:
    """Jobs: the lock, the steps that are done, the reports."""

    def __init__(self, database: Database):
        self._database = database
