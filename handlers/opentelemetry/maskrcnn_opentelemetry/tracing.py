"""Spans of requests and their stages, sent by OTLP over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from maskrcnn_handlers.observe.exchange import Exchange

SERVICE = "maskrcnn-server"
"""Name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says another."""
NOT_TRACED = {"/ping", "/metrics"}
"""Routes that are asked for every few seconds."""
METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
CLOSE_S = 2
"""Seconds in which the last spans are sent when the server ends."""


class Tracing:
    """Sends a span for each request, and one for each of its stages."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    @contextmanager
    def request(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], route: str | None
    ) -> Iterator[Callable[[int], None]]:
        """The span of the request that is answered inside, which continues the client's trace.

        `scope` is ASGI's; `route` is the path of the route that answers. Gives a function to be
        called with the status. Attributes are those of OpenTelemetry's conventions for HTTP.
        """
        if scope["path"] in NOT_TRACED:
            yield lambda _: None
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "url.path": scope["path"],
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        host, port = scope.get("server") or (None, None)
        attributes |= {"server.address": host} if host else {}
        attributes |= {"server.port": port} if port else {}
        attributes |= {"http.route": route} if route else {}
        with self._tracer.start_as_current_span(
            f"{name} {route}" if route else name,
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            attributes=attributes,
        ) as span:

            def answered(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_attribute("error.type", str(status))
                    span.set_status(StatusCode.ERROR)

            yield answered

    def add(self, exchange: Exchange) -> None:
        """Add to the current span, if it is recorded, what is known of its request."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attribute("request.id", exchange.request_id)
        span.set_attribute("maskrcnn.model", exchange.model)
        span.set_attribute("maskrcnn.code", exchange.code)
        epoch = time.time() - time.perf_counter()
        for lap in exchange.laps:
            stage = self._tracer.start_span(lap.stage, start_time=int(1e9 * (epoch + lap.start)))
            stage.end(int(1e9 * (epoch + lap.end)))

    def close(self) -> None:
        """Send what has not been sent, if that does not take long."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def opened() -> Tracing:
    """Tracing as OpenTelemetry's own variables say."""
    named = Resource.create().merge(Resource({"service.name": SERVICE}))
    resource = named.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
