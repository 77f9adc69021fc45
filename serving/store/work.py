"""`Work`: what people and runs leave behind: inputs of scores, contacts, plays, feedback, free text."""

from serving.store.database import Database


class Work:
    """What people and runs leave behind: inputs of scores, contacts, plays, feedback, free text."""

    def __init__(self, database: Database):
        self._database = database
