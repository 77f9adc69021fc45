"""The tables, a module per concern; importing this package knows them all."""

from serving.store.tables import access, intake, jobs, outbox, work
from serving.store.tables.base import Base
from serving.store.tables.history import AccountRow, DecisionRow, RunRow, ScoreRow

__all__ = ["AccountRow", "Base", "DecisionRow", "RunRow", "ScoreRow", "access", "intake", "jobs", "outbox", "work"]
