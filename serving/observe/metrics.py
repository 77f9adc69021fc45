"""What Prometheus reads: latency by route, the distribution of scores, which models serve, how old everything is."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

#: The media type of `Metrics.render`.
CONTENT_TYPE = CONTENT_TYPE_LATEST
#: Names the folder through which the workers of one service share their counts; `kunto serve --workers` sets it.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PROBABILITIES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_POINTS = tuple(range(10, 101, 10))
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Standing:
    """What holds at the instant of a scrape, whichever worker is asked; instants are naive UTC, None is left out."""

    models: Mapping[str, int] = field(default_factory=dict)
    models_loaded_at: datetime | None = None
    data_age_seconds: float | None = None
    last_runs: Mapping[str, datetime] = field(default_factory=dict)
    outbox_waiting: int | None = None


class Metrics:
    """The counts of one application; each has a registry of its own.

    >>> metrics = Metrics()
    >>> metrics.events("usage", 3)
    >>> "kunto_events_total{table=\\"usage\\"} 3.0" in metrics.render(Standing()).decode()
    True
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "kunto_http_request_duration_seconds",
            "Time from a request to the last byte of its answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._probability = Histogram(
            "kunto_score_probability",
            "Probabilities that were answered.",
            ("outcome", "horizon"),
            buckets=_PROBABILITIES,
            registry=self._registry,
        )
        self._health = Histogram(
            "kunto_health_score", "Health scores that were answered.", buckets=_POINTS, registry=self._registry
        )
        self._events = Counter("kunto_events", "Rows of events taken in.", ("table",), registry=self._registry)
        # Looking a label up costs more than counting it.
        self._by_request: dict[tuple[str, str, int], Histogram] = {}
        self._by_outcome: dict[tuple[str, int], Histogram] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is the template, of which there are few."""
        key = (method if method in _METHODS else "other", route, status // 100)
        child = self._by_request.get(key)
        if child is None:
            child = self._by_request[key] = self._requests.labels(key[0], route, f"{key[2]}xx")
        child.observe(seconds)

    def scored(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count the probabilities and health scores of scored accounts."""
        for record in records:
            if (score := record["health"]["score"]) is not None:
                self._health.observe(score)
            for prediction in record["predictions"] or ():
                key = (prediction["outcome"], prediction["horizon_days"])
                child = self._by_outcome.get(key)
                if child is None:
                    child = self._by_outcome[key] = self._probability.labels(*key)
                child.observe(prediction["probability"])

    def events(self, table: str, rows: int) -> None:
        """Count rows of events that were taken in."""
        self._events.labels(table).inc(rows)

    def render(self, standing: Standing) -> bytes:
        """Everything as Prometheus reads it (`CONTENT_TYPE`); of all workers where they share a folder."""
        counted = MultiProcessCollector(None) if SHARED in os.environ else self._registry
        return generate_latest(_Scrape(counted, standing))


class _Scrape:
    """The counts, and what holds now."""

    def __init__(self, counted: CollectorRegistry | MultiProcessCollector, standing: Standing) -> None:
        self._counted, self._standing = counted, standing

    def collect(self) -> Iterator[Metric]:
        yield from self._counted.collect()
        now = self._standing
        info = GaugeMetricFamily("kunto_model_info", "The models that serve.", labels=("name", "version"))
        for name, version in now.models.items():
            info.add_metric([name, str(version)], 1)
        yield info
        runs = GaugeMetricFamily("kunto_last_run_timestamp_seconds", "When the last run of a kind finished.", labels=("kind",))
        for kind, at in now.last_runs.items():
            runs.add_metric([kind], _seconds(at))
        yield runs
        loaded = None if now.models_loaded_at is None else _seconds(now.models_loaded_at)
        for name, told, value in (
            ("kunto_model_loaded_timestamp_seconds", "When the models that serve were loaded.", loaded),
            ("kunto_data_age_seconds", "Time since the end of the data that was scored last.", now.data_age_seconds),
            ("kunto_outbox_waiting", "Deliveries that wait to be sent.", now.outbox_waiting),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, told, value=value)


def _seconds(instant: datetime) -> float:
    return instant.replace(tzinfo=UTC).timestamp()
