"""The models in use: loaded by alias, looked after in the background, exchanged whole when the alias moves."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

import structlog

from features.catalogue import Feature, catalog
from models.registry import worded
from serving.champions import Champions, champion_versions, load_versions
from serving.model_cards import ModelCard, read_card
from serving.self_test import check_models
from serving.store.instants import now

P = TypeVar("P")
_LONGEST_PAUSE_SECONDS = 600.0


class ModelsNotReadyError(RuntimeError):
    """Nothing is loaded yet; `state` says why."""


@dataclass(frozen=True)
class Bundle(Generic[P]):
    """What serves together: a request takes it once, and finishes on it whatever is loaded meanwhile.

    `prepared` is what `prepare` made of the champions; `catalogue` the features that these models know, by name; `wording` the
    versions as they are kept with every score.
    """

    champions: Champions
    prepared: P
    cards: Mapping[str, ModelCard]
    loaded_at: datetime
    versions: Mapping[str, int] = field(init=False)
    wording: str = field(init=False)
    catalogue: Mapping[str, Feature] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Work out once what each request asks for."""
        versions, churn = self.champions.versions, self.champions.churn
        object.__setattr__(self, "versions", MappingProxyType(versions))
        object.__setattr__(self, "wording", worded(versions))
        object.__setattr__(self, "catalogue", MappingProxyType(catalog(churn.model.product_features if churn else ())))


@dataclass(frozen=True)
class State:
    """How the models stand; instants are naive UTC.

    `since`: when the versions that serve were loaded. `last_checked`: when the registry last answered. `problem`: why what the
    registry names is not what serves; None where all is well.
    """

    ready: bool = False
    serving: Literal["models", "health score"] | None = None
    versions: dict[str, int] = field(default_factory=dict)
    since: datetime | None = None
    last_checked: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Failure:
    """Versions that could not be loaded, how often, and the monotonic second before which they are not tried again."""

    versions: Mapping[str, int]
    times: int
    retry_at: float


class ModelsInUse(Generic[P]):
    """Holds the champions of a registry, and follows the alias.

    Every `poll_seconds` a thread asks the registry which versions have the alias. Where they differ from what serves it loads
    them aside, lets them prove themselves (`serving.self_test`, then `self_test` of what `prepare` made of them), and exchanges
    the one reference that `current` returns: whoever holds the old bundle finishes on it. A version that fails changes nothing
    that serves; it is tried again when the alias moves, when `check` is called, or after a pause that doubles up to ten minutes.

    `on_change(old, new)` is called in that thread after an exchange, not after the first load; what it raises is logged.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        prepare: Callable[[Champions], P],
        poll_seconds: float = 5.0,
        self_test: Callable[[P], None] = lambda prepared: None,
        on_change: Callable[[Bundle[P], Bundle[P]], None] = lambda old, new: None,
    ) -> None:
        self._tracking_uri, self._poll_seconds = tracking_uri, poll_seconds
        self._prepare, self._self_test, self._on_change = prepare, self_test, on_change
        self._bundle: Bundle[P] | None = None
        self._state = State()
        self._failure: _Failure | None = None
        self._checking = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger("kunto.models")

    @property
    def ready(self) -> bool:
        """Whether the first load and its self-test have succeeded; a registry without champions is ready, too."""
        return self._bundle is not None

    def current(self) -> Bundle[P]:
        """What serves now; ModelsNotReadyError before the first load succeeded. Costs nothing: ask once per request."""
        bundle = self._bundle
        if bundle is None:
            raise ModelsNotReadyError(f"no models are loaded yet: {self._state.problem or 'loading'}; try again shortly")
        return bundle

    def state(self) -> State:
        """How the models stand."""
        return self._state

    def start(self) -> None:
        """Load the models, then follow the alias in the background; what cannot be loaded is told by `state` and tried again."""
        # MLflow would ask a server that is down for minutes before it says so; who wants that sets MLflow's own variables.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._stopping.clear()
        self._check(again=True)
        self._thread = threading.Thread(target=self._follow, name="models-in-use", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop following; what is loaded goes on serving. Waits at most so long for a load that is under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            self._thread = None

    def check(self) -> State:
        """Look at the registry now, whatever the pause, and return how the models stand after it."""
        self._check(again=True)
        return self._state

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self._check(again=False)

    def _check(self, *, again: bool) -> None:
        with self._checking:
            try:
                wanted = champion_versions(self._tracking_uri)
            except Exception as error:
                self._tell(f"the registry cannot be read: {_worded(error)}", error)
                return
            self._state = replace(self._state, last_checked=now())
            if self._bundle is not None and wanted == self._bundle.versions:
                self._failure = None
                self._state = replace(self._state, problem=None)
                return
            failure = self._failure if self._failure and self._failure.versions == wanted else None
            if failure and not again and time.monotonic() < failure.retry_at:
                return
            try:
                new = self._load(wanted)
            except Exception as error:
                times = failure.times + 1 if failure else 1
                pause = min(self._poll_seconds * 2**times, _LONGEST_PAUSE_SECONDS)
                self._failure = _Failure(wanted, times, time.monotonic() + pause)
                self._tell(f"{worded(wanted)} cannot serve: {_worded(error)}", error)
                return
            self._exchange(new)

    def _load(self, versions: Mapping[str, int]) -> Bundle[P]:
        champions = load_versions(self._tracking_uri, versions)
        check_models(champions)
        prepared = self._prepare(champions)
        self._self_test(prepared)
        cards = {each.name: read_card(self._tracking_uri, each) for each in champions.models.values()}
        return Bundle(champions, prepared, MappingProxyType(cards), now())

    def _exchange(self, new: Bundle[P]) -> None:
        old, self._bundle, self._failure = self._bundle, new, None
        self._state = State(
            ready=True,
            serving="models" if new.versions else "health score",
            versions=dict(new.versions),
            since=new.loaded_at,
            last_checked=self._state.last_checked,
        )
        self._log.info("models_loaded", versions=new.wording, before=old.wording if old else None)
        if old is not None:
            try:
                self._on_change(old, new)
            except Exception:
                self._log.exception("on_change_failed", versions=new.wording)

    def _tell(self, problem: str, error: Exception) -> None:
        """Keep the problem in the state, and log it where it was not told before."""
        if problem != self._state.problem:
            self._log.error("models_not_loaded", problem=problem, serving=self._bundle and self._bundle.wording, exc_info=error)
        self._state = replace(self._state, problem=problem)


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
