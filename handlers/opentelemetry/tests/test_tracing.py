"""Spans of requests and their stages."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from maskrcnn_handlers.http.asgi import App
from maskrcnn_handlers.http.model_management import ModelManagement
from maskrcnn_handlers.observe import tracing
from maskrcnn_handlers.service import Service
from maskrcnn_opentelemetry.tracing import Tracing
from maskrcnn_server import settings as environment
from maskrcnn_server.hosting.models import Models
from maskrcnn_server.hosting.scheduler import Scheduler
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.settings import Settings

if TYPE_CHECKING:
    from server_fixtures import Install, Server

PNG = {"Content-Type": "image/png"}
STAGES = {"wait", "decode", "model", "paste", "encode"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(
    exporter: InMemorySpanExporter,
    settings: Settings,
    scheduler: Scheduler,
    connect: Callable[[App], httpx.Client],
) -> httpx.Client:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service = Service(Plugins().formats(), settings, Models.single(scheduler), Tracing(provider))
    return connect(App(service, ModelManagement(service.models), threads=2))


def split(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The span of the one request, and those of its stages."""
    spans = exporter.get_finished_spans()
    (request,) = [span for span in spans if span.kind is SpanKind.SERVER]
    return request, [span for span in spans if span is not request]


def test_a_request_is_a_span_and_its_stages_are_within(
    traced: httpx.Client, exporter: InMemorySpanExporter, png: bytes
) -> None:
    reply = traced.post("/invocations", content=png, headers=PNG)
    request, stages = split(exporter)
    assert request.name == "POST /invocations"
    attributes = dict(request.attributes or {})
    assert attributes["http.response.status_code"] == 200
    assert attributes["request.id"] == reply.headers["X-Request-Id"]
    assert attributes["maskrcnn.model"] == "colours"
    assert {stage.name for stage in stages} == STAGES
    assert request.context is not None
    for stage in stages:
        assert stage.parent is not None
        assert stage.parent.span_id == request.context.span_id
        assert request.start_time is not None
        assert request.end_time is not None
        assert stage.start_time is not None
        assert stage.end_time is not None
        slack = 2_000_000  # two clocks
        assert request.start_time - slack <= stage.start_time <= stage.end_time
        assert stage.end_time <= request.end_time + slack


def test_stages_are_in_their_order(
    traced: httpx.Client, exporter: InMemorySpanExporter, png: bytes
) -> None:
    traced.post("/invocations", content=png, headers=PNG)
    _, stages = split(exporter)
    begun = sorted(stages, key=lambda stage: stage.start_time or 0)
    assert [stage.name for stage in begun] == [
        *("wait", "decode", "decode", "wait", "model", "encode", "paste")
    ]


def test_a_clients_trace_is_continued(
    traced: httpx.Client, exporter: InMemorySpanExporter, png: bytes
) -> None:
    headers = PNG | {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    traced.post("/invocations", content=png, headers=headers)
    request, stages = split(exporter)
    for span in (request, *stages):
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT


def test_what_a_client_does_not_want_sampled_is_not(
    traced: httpx.Client, exporter: InMemorySpanExporter, png: bytes
) -> None:
    headers = PNG | {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert traced.post("/invocations", content=png, headers=headers).status_code == 200
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("header", ["", "00-0-0-01", "x" * 5000, f"00-{TRACE}-{PARENT}"])
def test_a_strange_trace_header_is_no_fault_of_ours(
    traced: httpx.Client, exporter: InMemorySpanExporter, png: bytes, header: str
) -> None:
    headers = PNG | {"traceparent": header, "tracestate": header, "baggage": header}
    assert traced.post("/invocations", content=png, headers=headers).status_code == 200
    assert split(exporter)[0].parent is None


def test_an_error_has_its_code(traced: httpx.Client, exporter: InMemorySpanExporter) -> None:
    traced.post("/invocations", content=b"no image", headers=PNG)
    request, stages = split(exporter)
    attributes = dict(request.attributes or {})
    assert attributes["maskrcnn.code"] == "invalid_image"
    assert attributes["http.response.status_code"] == 422
    assert request.status.status_code is not StatusCode.ERROR
    assert {stage.name for stage in stages} == {"wait", "decode"}


def test_health_checks_and_scrapes_are_left_out(
    traced: httpx.Client, exporter: InMemorySpanExporter
) -> None:
    traced.get("/ping")
    traced.get("/metrics")
    assert exporter.get_finished_spans() == ()
    traced.get("/models")
    assert len(exporter.get_finished_spans()) == 1


def test_spans_hold_no_content(
    traced: httpx.Client, exporter: InMemorySpanExporter, question: dict[str, Any]
) -> None:
    headers = {"Authorization": "s3cr3t", "X-Amzn-SageMaker-Custom-Attributes": "img_id=s3cr3t"}
    traced.post("/invocations", json=question | {"img_id": "s3cr3t"}, headers=headers)
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "s3cr3t" not in text
    assert question["img_data"][:16] not in text


def test_no_spans_unless_an_address_is_named() -> None:
    assert tracing.opened(Plugins(), environment.read()) is None


def test_the_library_is_not_imported_unless_it_is_used() -> None:
    code = """
import sys
from maskrcnn_handlers.observe import tracing
from maskrcnn_server import settings
from maskrcnn_server.plugins import Plugins
tracing.opened(Plugins(), settings.read())
print("opentelemetry.sdk" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector's address, and what it is sent."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_a_real_server_sends_spans_to_a_collector(
    start: Callable[..., Server],
    install: Install,
    collector: tuple[str, list[ExportTraceServiceRequest]],
    tmp_path: Path,
    png: bytes,
) -> None:
    url, received = collector
    env = install(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_RESOURCE_ATTRIBUTES="deployment=test")
    server = start(tmp_path, "--backend", "fake", "--model", str(tmp_path), env=env)
    server.wait_for(200)
    headers = PNG | {"X-Request-Id": "a-7", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    reply = httpx.post(f"{server.url}/invocations", content=png, headers=headers)
    assert reply.status_code == 200
    assert server.end()[0] == 0, server.log.read_text()
    resources = [spans for one in received for spans in one.resource_spans]
    names = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert (names["service.name"], names["deployment"]) == ("maskrcnn-server", "test")
    spans = [s for r in resources for scope in r.scope_spans for s in scope.spans]
    assert {span.name for span in spans} == {"POST /invocations"} | STAGES
    assert {span.trace_id.hex() for span in spans} == {TRACE}


def test_a_collector_that_is_not_there_harms_nothing(
    start: Callable[..., Server], install: Install, tmp_path: Path, png: bytes
) -> None:
    env = install(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    server = start(tmp_path, "--backend", "fake", "--model", str(tmp_path), env=env)
    server.wait_for(200)
    reply = httpx.post(f"{server.url}/invocations", content=png, headers=PNG)
    assert reply.status_code == 200
    code, seconds = server.end()
    assert code == 0, server.log.read_text()
    assert seconds < 25
