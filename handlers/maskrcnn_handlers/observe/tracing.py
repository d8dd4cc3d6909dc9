"""Spans of requests and their stages. Nothing else in the project knows OpenTelemetry."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from maskrcnn_handlers.observe.exchange import Exchange
from maskrcnn_server.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "maskrcnn-server"
"""Name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says another."""
NOT_TRACED = {"/ping", "/metrics"}
"""Routes that are asked for every few seconds."""
CLOSE_S = 2
"""For the last spans to be sent when the server ends."""
OFF: dict[str, Any] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own telemetry, which also makes the span of a request, all switched off."""

logger = logging.getLogger(__name__)


class Tracing:
    """Sends a span for each request, which FastAPI makes, and one for each of its stages."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    @property
    def of_requests(self) -> dict[str, Any]:
        """What FastAPI is to be told as `telemetry`."""
        return OFF | {
            "tracing": True,
            "tracer_provider": self._provider,
            "exclude": lambda scope: scope.get("path") in NOT_TRACED,
        }

    def add(self, exchange: Exchange) -> None:
        """Add to the current span, if it is recorded, what is known of its request."""
        from opentelemetry import trace

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


def opened(settings: Settings) -> Tracing | None:
    """Tracing as OpenTelemetry's own variables say; None if they name no address to send to."""
    if settings.otel_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("no spans are sent: the extra [opentelemetry] is not installed")
        return None
    named = Resource.create().merge(Resource({"service.name": SERVICE}))
    resource = named.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
