"""What the routes stand on: one per process, made by whoever serves (`kunto serve`, the tests)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request

from features.catalogue import Feature
from features.mapping import Mapping as SourceMapping
from models.sentences import Language
from serving.answers import Answers
from serving.assessment import RiskMarks, ScoringSettings
from serving.champions import Champions
from serving.company import CompanyTables
from serving.credentials import Keys, Sessions
from serving.live import LiveScorer
from serving.models_in_use import Bundle, ModelsInUse
from serving.observe.metrics import Metrics
from serving.on_demand import score_accounts
from serving.portfolio import Portfolio
from serving.principal import Principal
from serving.settings import ServiceSettings
from serving.store import Store
from serving.store.instants import now
from serving.webhooks import Deliverer

_MARKS_HOLD = timedelta(minutes=1)


@dataclass
class Service:
    """The store, the models in use, the company's tables on demand, and what was set.

    `base` is the folder of kunto.toml; `currency` is that of all money; with `sign_in` False the pages (not the API) are open to
    whoever reaches them, which only this machine may.
    """

    store: Store
    tracking_uri: str
    mapping: SourceMapping
    base: Path
    settings: ServiceSettings
    scoring: ScoringSettings
    config_version: str
    version: str
    currency: str | None = None
    sign_in: bool = True
    clock: Callable[[], datetime] = now
    keys: Keys = field(init=False)
    sessions: Sessions = field(init=False)
    portfolio: Portfolio = field(init=False)
    metrics: Metrics = field(init=False)
    answers: Answers[bytes] = field(init=False)
    company: CompanyTables = field(init=False)
    models: ModelsInUse[LiveScorer] = field(init=False)
    deliverer: Deliverer = field(init=False)

    def __post_init__(self) -> None:
        """Make what rests on the parts given; nothing runs before `start`."""
        self._marked_at: datetime | None = None
        self.keys = Keys(self.store.access, self.clock)
        self.sessions = Sessions(self.store.access, self.clock)
        self.portfolio = Portfolio(self.store, self.scoring.plays.currency)
        self.metrics = Metrics()
        self.answers = Answers(self.store.revision)
        self.company = CompanyTables(self.mapping, self.base, self.store)
        self.deliverer = Deliverer(self.store, self.settings, self.clock)
        self.models = ModelsInUse(
            self.tracking_uri,
            prepare=self._scorer,
            poll_seconds=self.settings.model_poll_seconds,
            self_test=LiveScorer.self_test,
            on_change=self._promoted,
        )

    def start(self) -> None:
        """Load the models and begin what runs beside the requests."""
        self.models.start()
        self.deliverer.start()

    def stop(self) -> None:
        """End what runs beside the requests; the store is closed last."""
        self.models.stop()
        self.deliverer.stop()
        self.keys.close()
        self.store.close()

    def language(self, chosen: Language | None) -> Language:
        """The language of sentences: the one chosen, else the company's."""
        return chosen or self.settings.language

    @property
    def catalogue(self) -> Mapping[str, Feature]:
        """Every feature that the models in use know."""
        return self.models.current().prepared.catalogue

    def score_accounts(
        self, account_ids: list[str], as_of: datetime | None, language: Language
    ) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """Score accounts now from their history; see `serving.on_demand`."""
        bundle = self.models.current()
        return score_accounts(
            self.company,
            bundle,
            self.scoring,
            account_ids,
            as_of,
            language=language,
            config_version=self.config_version,
            marks=self._marks(),
        )

    def audit(self, request: Request, action: str, target: str | None) -> None:
        """Keep who did what, under the request's id."""
        state = request.scope.get("state", {})
        principal: Principal = state["principal"]
        self.store.access.audit(principal, action, target, request_id=state.get("request_id"), at=self.clock())

    @property
    def scorer(self) -> LiveScorer:
        """What scores inline features now, with the marks of the portfolio that stands (or stood up to a minute ago)."""
        found = self.models.current().prepared
        if self._marked_at is None or self.clock() - self._marked_at > _MARKS_HOLD:
            found.marks = self._marks()
        return found

    def _scorer(self, champions: Champions) -> LiveScorer:
        return LiveScorer(champions, self.scoring, config_version=self.config_version, marks=self._marks())

    def _marks(self) -> RiskMarks | None:
        """What counts as high and as middling risk in the portfolio that stands."""
        self._marked_at = self.clock()
        view = self.portfolio.at()
        return None if view is None else RiskMarks.of([line.p_churn for line in view.lines.values() if not line.leaving])

    def _promoted(self, old: Bundle[LiveScorer], new: Bundle[LiveScorer]) -> None:
        """Tell of each model whose serving version changed, once however many workers see it."""
        for name in sorted({*old.versions, *new.versions}):
            before, after = old.versions.get(name), new.versions.get(name)
            if before != after:
                key = f"{name}:{before}:{after}:{new.loaded_at:%Y-%m-%dT%H}"
                self.store.outbox.announce("model.promoted", {"name": name, "version": after, "before": before}, key=key)
