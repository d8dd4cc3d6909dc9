"""Metrics for Prometheus. Nothing else in the project knows its library."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from maskrcnn_server import API_VERSION
from maskrcnn_server.errors import ModelFailed, UnavailableError

if TYPE_CHECKING:
    from maskrcnn_handlers.observe.exchange import Exchange
    from maskrcnn_server.hosting.scheduler import Scheduler

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FACTS = ("architecture", "heads", "step", "engine", "device", "precision", "GPU", "driver")
"""Facts about a model that are labels of its metric."""
REJECTIONS = {UnavailableError.code, *(kind.code for kind in UnavailableError.__subclasses__())}
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
STAGE_S = (0.0005, 0.001, 0.0025, *REQUEST_S[:-1])
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Metrics:
    """The metrics of one service. Labels have values of ours alone, none that a client invents."""

    def __init__(
        self, ready: Callable[[], bool], schedulers: Callable[[], Mapping[str, Scheduler]]
    ) -> None:
        """`ready`, and `schedulers` of the loaded models by name, are asked at each scrape."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "maskrcnn_requests",
            "Requests for inference that were answered, by status and code of the error.",
            ["model", "status", "code"],
            registry=self._registry,
        )
        self._rejections = Counter(
            "maskrcnn_rejections",
            "Of them, those that were fine but did not run, by code of the error.",
            ["model", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "maskrcnn_request_duration_seconds",
            "From the arrival of a request's body to its answer.",
            ["model", "status"],
            buckets=REQUEST_S,
            registry=self._registry,
        )
        self._stages = Histogram(
            "maskrcnn_stage_duration_seconds",
            "Of a request in each stage; model, preprocess and network count once for a batch.",
            ["model", "stage"],
            buckets=STAGE_S,
            registry=self._registry,
        )
        self._schedulers = schedulers
        self._names: set[str] = set()
        Info("maskrcnn_build", "Version of the server, always 1.", registry=self._registry).info(
            {"version": version("maskrcnn-server"), "api_version": API_VERSION}
        )
        self._registry.register(_Schedulers(ready, schedulers))
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=self._registry)

    def count(self, exchange: Exchange) -> None:
        """Count a request that was answered."""
        model, status = exchange.model, str(exchange.status)
        self._requests.labels(model, status, exchange.code).inc()
        if exchange.code in REJECTIONS:
            self._rejections.labels(model, exchange.code).inc()
        self._seconds.labels(model, status).observe(exchange.seconds)
        for name, seconds in exchange.stages.items():
            self._stages.labels(model, name).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format (`CONTENT_TYPE`)."""
        models = set(self._schedulers())
        for gone in self._names - models:
            for metric in (self._requests, self._rejections, self._seconds, self._stages):
                metric.remove_by_labels({"model": gone})
        self._names = models
        # A rate is known from the first request on if its counter was 0 before.
        for model in models:
            self._requests.labels(model, "200", "")
            for code in REJECTIONS:
                self._rejections.labels(model, code)
        return generate_latest(self._registry)


class _Schedulers(Collector):
    """Metrics that schedulers know, read at each scrape."""

    def __init__(
        self, ready: Callable[[], bool], schedulers: Callable[[], Mapping[str, Scheduler]]
    ) -> None:
        self._ready = ready
        self._schedulers = schedulers

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        schedulers = self._schedulers()
        yield GaugeMetricFamily(
            "maskrcnn_ready", "1 if /ping is 200, else 0.", value=int(self._ready())
        )
        info = InfoMetricFamily("maskrcnn_model", "Always 1, for each model that is loaded.")
        waiting = GaugeMetricFamily(
            "maskrcnn_requests_waiting",
            "Requests that are admitted, and neither run nor are answered.",
            labels=["model"],
        )
        running = GaugeMetricFamily(
            "maskrcnn_requests_in_flight",
            "Requests whose images the model computes now.",
            labels=["model"],
        )
        up = GaugeMetricFamily(
            "maskrcnn_model_up",
            "1 if the model answers requests, 0 while it restarts, hangs or is given up.",
            labels=["model"],
        )
        workers = GaugeMetricFamily(
            "maskrcnn_worker_up",
            "1 if a worker of a model with several is up, else 0.",
            labels=["model", "worker", "device"],
        )
        restarts = CounterMetricFamily(
            "maskrcnn_model_restarts",
            "How often the process of an isolated model ended and another took its place.",
            labels=["model"],
        )
        batches = HistogramMetricFamily(
            "maskrcnn_batch_size", "Images in a call of the model.", labels=["model"]
        )
        for name, scheduler in schedulers.items():
            facts = scheduler.metadata.facts
            labels = {"model": name, "backend": scheduler.metadata.backend}
            info.add_metric([], labels | {fact.lower(): facts.get(fact, "") for fact in FACTS})
            waiting.add_metric([name], scheduler.waiting)
            running.add_metric([name], scheduler.running)
            up.add_metric([name], _is_up(scheduler))
            for index, worker in enumerate(scheduler.workers):
                where = [name, str(index), worker["device"]]
                workers.add_metric(where, worker["status"] == "ready")
            restarts.add_metric([name], scheduler.restarts)
            batches.add_metric([name], *_cumulated(dict(scheduler.calls)))
        yield from (info, waiting, running, up, workers, restarts, batches)


def _is_up(scheduler: Scheduler) -> bool:
    try:
        return scheduler.is_up()
    except ModelFailed:
        return False


def _cumulated(calls: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Buckets, as Prometheus counts them, and the sum, of calls by their number of images."""
    within = [sum(n for size, n in calls.items() if size <= limit) for limit in BATCHES]
    limits = itertools.chain(map(float, BATCHES), [float("inf")])
    buckets = zip(limits, [*within, sum(calls.values())], strict=True)
    return (
        [("+Inf" if limit == float("inf") else str(limit), float(n)) for limit, n in buckets],
        float(sum(size * n for size, n in calls.items())),
    )
