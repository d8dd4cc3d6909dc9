"""The tracer that sends spans to an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maskrcnn_server import hookimpl

if TYPE_CHECKING:
    from maskrcnn_opentelemetry.tracing import Tracing
    from maskrcnn_server.extensions import Tracer
    from maskrcnn_server.settings import Settings

api_version = "1.0"


class OpenTelemetry:
    """Sends spans by OTLP over HTTP, if OpenTelemetry's own variables name an address."""

    name = "opentelemetry"

    def open(self, settings: Settings, /) -> Tracing | None:
        if settings.otel_endpoint is None:
            return None
        # The library takes its time.
        from maskrcnn_opentelemetry import tracing

        return tracing.opened()


@hookimpl
def register_tracers(register: Callable[[Tracer], None]) -> None:
    """OpenTelemetry's."""
    register(OpenTelemetry())
