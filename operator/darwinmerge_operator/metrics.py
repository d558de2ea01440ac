"""/metrics: what Prometheus is told of runs, and of the operator itself.

Runs are told at the moment of a scrape, from what the last look at each has left: a deleted one is gone at once, and
an operator that was started again knows each as soon as it has looked at it. Nothing is asked of the API server.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from darwinmerge_operator.api import Key
from darwinmerge_operator.figures import Figures, samples
from darwinmerge_operator.metric import OPERATOR, RUN

STAGE_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)  # seconds
LOOK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for


class Board(Collector):
    """The last figures of each run."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Nothing has been looked at yet."""
        self._clock, self._lock = clock, threading.Lock()
        self._figures: dict[Key, Figures] = {}

    def get(self, key: Key) -> Figures | None:
        """What was last put up."""
        with self._lock:
            return self._figures.get(key)

    def put(self, key: Key, figures: Figures) -> None:
        """Replace what was known of a run."""
        with self._lock:
            self._figures[key] = figures

    def forget(self, key: Key) -> None:
        """The run is gone."""
        with self._lock:
            self._figures.pop(key, None)

    def collect(self) -> Iterable[Metric]:
        """All of them, for one scrape."""
        with self._lock:
            known = sorted(self._figures.items())
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, metric in RUN.items():
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            families[name] = kind(name, metric.help, labels=["namespace", "name", *metric.labels])
        now = self._clock()
        for key, figures in known:
            for name, labels, value in samples(figures, now):
                families[name].add_metric([*key, *labels], value)
        return families.values()


class Metrics:
    """All that the operator tells of itself, and the board of runs."""

    def __init__(self, version: str, clock: Callable[[], float] = time.monotonic) -> None:
        """A registry of its own, so that tests can have several."""
        self._clock = clock
        self.registry, self.board = CollectorRegistry(), Board()
        self.registry.register(self.board)
        self._gauge("darwin_operator_build_info").labels(version).set(1)
        self._stages = self._histogram("darwin_operator_stage_duration_seconds", STAGE_BUCKETS)
        self._looks = self._histogram("darwin_operator_reconcile_duration_seconds", LOOK_BUCKETS)
        self._total = self._counter("darwin_operator_reconcile_total")
        self._errors = self._counter("darwin_operator_reconcile_errors_total")
        self._asked = self._counter("darwin_operator_api_requests_total")
        self._age = self._gauge("darwin_operator_watch_age_seconds")
        self._heard: dict[str, float] = {}  # by path of the API: a resource, of one namespace or of all

    def watch_queue(self, depth: Callable[[], float], lag: Callable[[], float]) -> None:
        """Tell how many runs are due, and for how long one has been."""
        self._gauge("darwin_operator_queue_depth").set_function(depth)
        self._gauge("darwin_operator_queue_lag_seconds").set_function(lag)

    def tried(self, path: str) -> None:
        """What is at this path of the API is to be watched: the age of its watch begins."""
        if path not in self._heard:
            self._heard[path] = self._clock()
            resource = path.rpartition("/")[2]
            self._age.labels(resource).set_function(lambda: self._silence(resource))

    def heard(self, path: str) -> None:
        """The watch of what is at this path was answered."""
        self._heard[path] = self._clock()

    def _silence(self, resource: str) -> float:
        """Seconds since the watch of a resource that was answered longest ago was."""
        heard = [when for path, when in list(self._heard.items()) if path.rpartition("/")[2] == resource]
        return self._clock() - min(heard)

    def stage_took(self, stage: str, seconds: float) -> None:
        """A Job has ended as it should."""
        self._stages.labels(stage).observe(seconds)

    def asked(self, verb: str, resource: str, code: str) -> None:
        """The API server was asked something."""
        self._asked.labels(verb, resource, code).inc()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Around a look at a run."""
        self._total.inc()
        with self._looks.time(), self._errors.count_exceptions():
            yield

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, OPERATOR[name].help, OPERATOR[name].labels, registry=self.registry)

    def _counter(self, name: str) -> Counter:
        return Counter(name, OPERATOR[name].help, OPERATOR[name].labels, registry=self.registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, OPERATOR[name].help, OPERATOR[name].labels, registry=self.registry, buckets=buckets)
