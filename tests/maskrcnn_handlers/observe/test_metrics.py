"""What Prometheus reads from the server."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_handlers.observe.metrics import Metrics
from maskrcnn_handlers.request.envelope import Envelope
from maskrcnn_handlers.service import Service
from maskrcnn_plugin_kit.testing.fake import FakeModel
from maskrcnn_server import API_VERSION
from maskrcnn_server.backend import Image, ModelMetadata, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import NotReady
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.rle import Size
from maskrcnn_server.settings import Settings

if TYPE_CHECKING:
    from server_fixtures import Install, Server

PAGE = Path(__file__).parents[3] / "docs/observability.md"
PNG = {"Content-Type": "image/png"}
STRANGE = 'a"} 1\nmaskrcnn_ready{x="\\'


class Held(FakeModel):
    """Computes when it is told to go on; batches."""

    batch_pixels = 10**9

    def __init__(self, name: str = "colours") -> None:
        super().__init__(0.5)
        self.metadata = ModelMetadata(
            name=name,
            backend="fake",
            categories=self.metadata.categories,
            score_threshold=0.5,
            facts={"architecture": "resnet50", "step": "7", "checkout": "/secret"},
        )
        self.started, self.go_on = threading.Event(), threading.Event()

    def network_shape(self, size: Size, /) -> Size:
        return size

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        self.started.set()
        assert self.go_on.wait(10)
        return super().predict(images, options)


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def scraped(service: Service) -> Callable[..., float]:
    """Looks up a sample of one scrape: 0 if there is none."""
    found = families(service.metrics().body.decode())
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in found.values()
        for sample in family.samples
    }
    return lambda name, **labels: samples.get((name, frozenset(labels.items())), 0.0)


def label_values(service: Service, name: str, label: str) -> set[str]:
    family = families(service.metrics().body.decode())[name]
    return {sample.labels[label] for sample in family.samples}


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def serving(settings: Settings, held: Held) -> Service:
    models = Models.single(Scheduler(held, max_waiting=4, max_batch=4))
    return Service(Plugins().formats(), settings, models)


def test_answers_are_counted_by_status_and_code(service: Service, png: bytes) -> None:
    for _ in range(2):
        service.invoke(Envelope.of(png, "image/png"))
    service.invoke(Envelope.of(b"no image", "image/png"))
    value = scraped(service)
    assert value("maskrcnn_requests_total", model="colours", status="200", code="") == 2
    assert (
        value("maskrcnn_requests_total", model="colours", status="422", code="invalid_image") == 1
    )
    assert value("maskrcnn_request_duration_seconds_count", model="colours", status="200") == 2
    assert 0 < value("maskrcnn_request_duration_seconds_sum", model="colours", status="200") < 10


def test_stages_of_a_request_are_timed(service: Service, png: bytes) -> None:
    service.invoke(Envelope.of(png, "image/png"))
    value = scraped(service)
    for stage in ("wait", "decode", "model", "paste", "encode"):
        assert value("maskrcnn_stage_duration_seconds_count", model="colours", stage=stage) == 1
    spent = [
        value("maskrcnn_stage_duration_seconds_sum", model="colours", stage=s)
        for s in ("decode", "encode")
    ]
    assert (
        0
        < sum(spent)
        <= value("maskrcnn_request_duration_seconds_sum", model="colours", status="200")
    )


def test_who_waits_and_what_runs_is_read_when_it_is_asked_for(
    serving: Service, held: Held, png: bytes, pool: ThreadPoolExecutor
) -> None:
    replies = [pool.submit(serving.invoke, Envelope.of(png, "image/png"))]
    assert held.started.wait(10)
    replies += [pool.submit(serving.invoke, Envelope.of(png, "image/png")) for _ in range(3)]
    deadline = time.monotonic() + 10
    while scraped(serving)("maskrcnn_requests_waiting", model="colours") < 3:
        assert time.monotonic() < deadline
    value = scraped(serving)
    assert value("maskrcnn_requests_in_flight", model="colours") == 1
    scheduler = serving.models.find(None).ready()
    while scheduler.ready < 3:
        assert time.monotonic() < deadline
    held.go_on.set()
    assert [reply.result().status for reply in replies] == [200] * 4
    value = scraped(serving)
    assert value("maskrcnn_requests_waiting", model="colours") == 0
    assert value("maskrcnn_requests_in_flight", model="colours") == 0
    assert value("maskrcnn_batch_size_count", model="colours") == 2
    assert value("maskrcnn_batch_size_sum", model="colours") == 4
    assert value("maskrcnn_batch_size_bucket", model="colours", le="1.0") == 1
    assert value("maskrcnn_batch_size_bucket", model="colours", le="2.0") == 1
    assert value("maskrcnn_batch_size_bucket", model="colours", le="3.0") == 2
    assert value("maskrcnn_batch_size_bucket", model="colours", le="+Inf") == 2


def test_rejections_are_there_before_the_first(
    settings: Settings, held: Held, png: bytes, pool: ThreadPoolExecutor
) -> None:
    service = Service(Plugins().formats(), settings, Models.single(Scheduler(held, max_waiting=0)))
    rejected = "maskrcnn_rejections_total"
    text = service.metrics().body.decode()
    assert f'{rejected}{{code="queue_full",model="colours"}} 0.0' in text
    first = pool.submit(service.invoke, Envelope.of(png, "image/png"))
    assert held.started.wait(10)
    assert service.invoke(Envelope.of(png, "image/png")).status == 429
    held.go_on.set()
    assert first.result().status == 200
    assert scraped(service)(rejected, model="colours", code="queue_full") == 1
    assert (
        scraped(service)(
            "maskrcnn_requests_total", model="colours", status="429", code="queue_full"
        )
        == 1
    )
    service.refuse(NotReady("the server is shutting down"))
    assert scraped(service)(rejected, model="", code="not_ready") == 1


def test_metrics_are_there_while_the_model_loads(settings: Settings, scheduler: Scheduler) -> None:
    service = Service(Plugins().formats(), settings, Models.single())
    assert "maskrcnn_ready 0.0" in service.metrics().body.decode()
    service.models.put(scheduler)
    assert "maskrcnn_ready 1.0" in service.metrics().body.decode()


def test_a_model_is_described_without_paths(serving: Service) -> None:
    labels = {
        "backend": "fake",
        "architecture": "resnet50",
        "heads": "",
        "step": "7",
        "engine": "",
        "device": "",
        "precision": "",
        "gpu": "",
        "driver": "",
    }
    assert scraped(serving)("maskrcnn_model_info", model="colours", **labels) == 1
    assert b"secret" not in serving.metrics().body


@pytest.mark.parametrize("name", ["b", STRANGE, "ä\u2028", "x" * 1024], ids=len)
def test_several_models_have_metrics_of_their_own(
    settings: Settings, tmp_path: Path, png: bytes, name: str
) -> None:
    models = Models(
        lambda _: Scheduler(FakeModel(0.5), max_waiting=4), tmp_path, 2**40, evicts=False
    )
    service = Service(Plugins().formats(), settings, models)
    models.load("a", str(tmp_path))
    models.load(name, str(tmp_path))
    service.invoke(Envelope.of(png, "image/png", model=name))
    value = scraped(service)
    assert value("maskrcnn_batch_size_count", model="a") == 0
    assert value("maskrcnn_batch_size_count", model=name) == 1
    assert value("maskrcnn_requests_total", model="a", status="200", code="") == 0
    assert value("maskrcnn_requests_total", model=name, status="200", code="") == 1
    models.unload(name)
    for metric in ("batch_size", "requests", "rejections", "stage_duration_seconds"):
        assert label_values(service, f"maskrcnn_{metric}", "model") <= {"a", ""}


def test_a_client_invents_no_labels(client: httpx.Client, service: Service, png: bytes) -> None:
    lines = set()
    for number in range(20):
        client.post(f"/models/{number}{quote(STRANGE)}/invoke", content=png, headers=PNG)
        client.post(f"/endpoints/{number}/invocations", content=png, headers=PNG)
        client.post("/invocations", content=b"x", headers={"Content-Type": f"image/{number}"})
        client.post("/invocations", content=png, headers=PNG | {"X-Request-Id": f"id{number}"})
        client.request(f"M{number}", f"/{number}")
        client.get(f"/metrics?name[]={number}", headers={"Accept": f"text/plain;version={number}"})
        lines.add(service.metrics().body.count(b"\n"))
    assert len(lines) == 1
    assert label_values(service, "maskrcnn_requests", "code") == {
        "",
        "unsupported_content_type",
        "model_not_found",
    }
    assert label_values(service, "maskrcnn_request_duration_seconds", "status") == {
        "200",
        "415",
        "404",
    }
    assert label_values(service, "maskrcnn_requests_waiting", "model") == {"colours"}
    assert label_values(service, "maskrcnn_requests", "model") == {"colours", ""}


def test_the_version_is_told(service: Service) -> None:
    labels = {"version": version("maskrcnn-server"), "api_version": API_VERSION}
    assert scraped(service)("maskrcnn_build_info", **labels) == 1


def test_a_refused_length_is_counted(client: httpx.Client, service: Service) -> None:
    client.post("/invocations", content=bytes(2**20 + 1), headers=PNG)
    value = scraped(service)
    assert value("maskrcnn_requests_total", model="", status="413", code="payload_too_large") == 1


@pytest.mark.parametrize(
    "accept", ["", "text/plain;version=x", "application/openmetrics-text", "*"]
)
def test_the_answer_is_text_whatever_is_accepted(client: httpx.Client, accept: str) -> None:
    reply = client.get("/metrics", headers={"Accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert families(reply.text)["process_resident_memory_bytes"].samples[0].value > 2**20


def test_two_services_share_nothing(settings: Settings, scheduler: Scheduler, png: bytes) -> None:
    first = Service(Plugins().formats(), settings, Models.single(scheduler))
    second = Service(Plugins().formats(), settings, Models.single())
    first.invoke(Envelope.of(png, "image/png"))
    assert scraped(first)("maskrcnn_requests_total", model="colours", status="200", code="") == 1
    assert scraped(second)("maskrcnn_requests_total", model="colours", status="200", code="") == 0
    assert not [family for family in REGISTRY.collect() if family.name.startswith("maskrcnn")]


class Pair(FakeModel):
    """Has two workers, of which one restarts."""

    max_calls, capacity = 2, 1

    def workers(self) -> list[dict[str, str]]:
        states = zip(("cuda:0", "cuda:1"), ("ready", "restarting"), strict=True)
        return [{"device": device, "status": status} for device, status in states]


@pytest.fixture
def with_workers(settings: Settings) -> Service:
    pair = Scheduler(Pair(0.5), max_waiting=1)
    return Service(Plugins().formats(), settings, Models.single(pair))


def test_it_is_told_which_worker_is_up(with_workers: Service) -> None:
    look = scraped(with_workers)
    up = [
        look("maskrcnn_worker_up", model="colours", worker=str(index), device=f"cuda:{index}")
        for index in (0, 1)
    ]
    assert up == [1, 0]
    assert json.loads(with_workers.ping().body)["workers"] == Pair(0.5).workers()


def test_every_metric_is_documented(with_workers: Service, png: bytes) -> None:
    service = with_workers
    service.invoke(Envelope.of(png, "image/png"))
    rows = set(re.findall(r"^(\| `maskrcnn_.*) \| .+\. \|$", PAGE.read_text(), re.MULTILINE))
    expected = set()
    for family in families(service.metrics().body.decode()).values():
        if family.name.startswith("maskrcnn_") and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for s in family.samples for label in s.labels} - {"le"}
            listed = ", ".join(f"`{label}`" for label in sorted(labels))
            expected.add(f"| `{name}` | {family.type} | {listed}")
    assert rows == expected


def test_counting_takes_microseconds() -> None:
    metrics = Metrics(lambda: True, dict)
    exchange = Exchange(
        request_id="a",
        model="",
        status=200,
        code="",
        seconds=1.0,
        stages={},
        laps=(),
        bytes_in=1,
        bytes_out=1,
    )
    begin = time.perf_counter()
    for _ in range(1000):
        metrics.count(exchange)
    assert time.perf_counter() - begin < 1


def test_a_scrape_does_not_wait_for_the_model(
    settings: Settings, connect: Callable[[App], httpx.Client], png: bytes
) -> None:
    held = Held()
    service = Service(Plugins().formats(), settings, Models.single(Scheduler(held, max_waiting=4)))
    client = connect(App(service, ModelManagement(service.models), threads=1))
    asker = threading.Thread(target=service.invoke, args=(Envelope.of(png, "image/png"),))
    asker.start()
    assert held.started.wait(10)
    text = client.get("/metrics").text
    held.go_on.set()
    asker.join()
    assert 'maskrcnn_requests_in_flight{model="colours"} 1.0' in text


def test_a_real_server_is_scraped(
    start: Callable[..., Server], install: Install, tmp_path: Path, question: dict[str, Any]
) -> None:
    server = start(tmp_path, "--backend", "fake", "--model", str(tmp_path), env=install())
    server.wait_for(200)
    for _ in range(3):
        httpx.post(f"{server.url}/invocations", content=json.dumps(question), headers=PNG)
        assert httpx.post(f"{server.url}/invocations", json=question).status_code == 200
    found = families(httpx.get(f"{server.url}/metrics").text)
    requests = {
        (s.labels["status"], s.labels["code"]): s.value
        for s in found["maskrcnn_requests"].samples
        if s.name.endswith("_total")
    }
    assert requests == {("200", ""): 3, ("422", "invalid_image"): 3}
    (ready,) = found["maskrcnn_ready"].samples
    assert ready.value == 1
    assert found["process_cpu_seconds"].type == "counter"
    assert server.end()[0] == 0
