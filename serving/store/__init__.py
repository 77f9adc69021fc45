"""The store: score history and the log of choices, on SQLite or PostgreSQL (domain.md §4, §8).

>>> from datetime import datetime
>>> with Store.open("sqlite://") as store:  # in memory
...     _ = store.save_accounts([Identity("a1", "Acme Oy", "Maija")])
...     run = store.begin_run("score", datetime(2026, 3, 1), {"model": "churn 3"})
...     _ = store.append_scores(run.run_id, [{"account_id": "a1", "as_of": "2026-03-01", "health": {"score": 71}}])
...     before = store.latest_scores()
...     _ = store.finish_run(run.run_id)
...     [score] = store.latest_scores()
>>> before, score.record["name"], score.record["health"], score.as_of
([], 'Acme Oy', {'score': 71}, datetime.datetime(2026, 3, 1, 0, 0))
"""

from serving.store.errors import StoreError, UnknownAccountError
from serving.store.records import Decision, HealthPoint, Identity, Line, LoggedDecision, Run, Score
from serving.store.store import Store

__all__ = [
    "Decision",
    "HealthPoint",
    "Identity",
    "Line",
    "LoggedDecision",
    "Run",
    "Score",
    "Store",
    "StoreError",
    "UnknownAccountError",
]
