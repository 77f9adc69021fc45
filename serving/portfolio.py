"""The portfolio as it stands, or stood: every account of the run that counts, filtered, sorted, worded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Literal

from cachetools import LRUCache

from features.catalogue import Feature
from models.choice import NOTHING
from models.sentences import Language
from serving.store import Line, Run, Score, Store
from serving.wording import worded

Sort = Literal["urgency", "name", "arr", "arr_at_risk", "health", "p_churn", "expected_value"]
_RUNS_KEPT = 4
_WORDED_KEPT = 4096


@dataclass(frozen=True)
class Filter:
    """What a list is narrowed to; None: anything. `name` is part of a name or id, in either case."""

    csm: str | None = None
    band: str | None = None
    tier: str | None = None
    stage: str | None = None
    leaving: bool | None = None
    disagreement: bool | None = None
    playbook: str | None = None
    name: str | None = None

    def keeps(self, line: Line) -> bool:
        """Whether the account is in the list.

        >>> Filter(name="acm").keeps(Line("a1", "ACME Oy", *[None] * 12))
        True
        """
        wanted = (
            (self.csm, line.csm),
            (self.band, line.band),
            (self.tier, line.tier),
            (self.stage, line.stage),
            (self.leaving, line.leaving),
            (self.disagreement, line.disagreement),
            (self.playbook, line.playbook),
        )
        if any(asked is not None and asked != given for asked, given in wanted):
            return False
        part = (self.name or "").casefold()
        return part in line.account_id.casefold() or part in (line.name or "").casefold()


_ORDERS: Mapping[Sort, Callable[[Line], Any]] = {
    # what is worth most to do comes first, then what is most at risk
    "urgency": lambda line: (-(line.expected_value or 0.0), -(line.arr_at_risk or line.arr or 0.0)),
    "name": lambda line: (line.name or line.account_id).casefold(),
    "arr": lambda line: -(line.arr or 0.0),
    "arr_at_risk": lambda line: -(line.arr_at_risk or 0.0),
    "health": lambda line: 101 if line.health_score is None else line.health_score,
    "p_churn": lambda line: -(line.p_churn or 0.0),
    "expected_value": lambda line: -(line.expected_value or 0.0),
}


def place(line: Line, sort: Sort) -> tuple[Any, str]:
    """Where a line stands in that order, ties by account id."""
    return _ORDERS[sort](line), line.account_id


def in_order(lines: Sequence[Line], sort: Sort) -> list[Line]:
    """The lines in that order."""
    return sorted(lines, key=lambda line: place(line, sort))


@dataclass(frozen=True)
class View:
    """One run's accounts."""

    run: Run
    lines: Mapping[str, Line]

    def worth_doing(self) -> list[Line]:
        """Accounts that can be kept or can grow and for which a play is worth its cost, the most valuable first."""
        chosen = [line for line in self.lines.values() if not line.leaving and line.playbook not in (None, NOTHING)]
        return in_order(chosen, "urgency")


class Portfolio:
    """Views of runs out of the store, and the scores of their accounts with sentences; safe for threads.

    A finished run never changes, so its view is kept until an account is erased or becomes known; a worded score is kept as long
    as there is room.
    """

    def __init__(self, store: Store, currency: str | None) -> None:
        self._store, self._currency = store, currency
        self._views: LRUCache[tuple[str, int], View] = LRUCache(_RUNS_KEPT)
        self._worded: LRUCache[tuple[Any, ...], dict[str, Any]] = LRUCache(_WORDED_KEPT)
        self._lock = Lock()

    def at(self, *, as_of: datetime | None = None, known_at: datetime | None = None) -> View | None:
        """The portfolio that stands, or stood at those times; None before the first run."""
        run = self._store.portfolio_run(as_of=as_of, known_at=known_at)
        if run is None:
            return None
        key = (run.run_id, self._store.known_accounts())
        with self._lock:
            view = self._views.get(key)
        if view is None:
            view = View(run, {line.account_id: line for line in self._store.lines(run.run_id)})
            with self._lock:
                self._views[key] = view
        return view

    def before(self, view: View) -> View | None:
        """The portfolio as it stood just before the view's run was finished; None for the first run."""
        finished = view.run.finished_at
        assert finished is not None  # a view is of a finished run
        return self.at(as_of=view.run.as_of, known_at=finished - timedelta(microseconds=1))

    def band_changes(self, view: View) -> list[tuple[Line, str]]:
        """The accounts whose health band changed with the view's run, each with the band before; provisional scores have none."""
        earlier = self.before(view)
        if earlier is None:
            return []
        then = earlier.lines
        changed = [(line, then[key].band) for key, line in view.lines.items() if line.band and key in then]
        return [(line, band) for line, band in changed if band and band != line.band]

    def records(
        self, run_id: str, account_ids: Sequence[str], catalogue: Mapping[str, Feature], language: Language
    ) -> list[dict[str, Any]]:
        """The worded records of those accounts in a run, in the order asked; ids that it has not are left out."""
        found = self._store.scores_of(run_id, account_ids)
        return [self.worded(found[each], catalogue, language) for each in account_ids if each in found]

    def worded(self, score: Score, catalogue: Mapping[str, Feature], language: Language) -> dict[str, Any]:
        """One stored score with its sentences."""
        who = score.record
        # names may change beside a score, which never does
        key = (score.run_id, who["account_id"], score.as_of, who.get("name"), who.get("csm"), language)
        with self._lock:
            known = self._worded.get(key)
        if known is None:
            known = worded(score, catalogue, language=language, currency=self._currency)
            with self._lock:
                self._worded[key] = known
        return known
