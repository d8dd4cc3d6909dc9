"""Spans of requests and their stages, which a plugin sends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from maskrcnn_handlers.observe.exchange import Exchange
    from maskrcnn_server.plugins import Plugins
    from maskrcnn_server.settings import Settings

logger = logging.getLogger(__name__)


class Tracing(Protocol):
    """A server's sender of spans."""

    def request(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], route: str | None, /
    ) -> AbstractContextManager[Callable[[int], None]]:
        """The span of the request that is answered inside, which continues the client's trace.

        `scope` is ASGI's; `route` is the path of the route that answers. Gives a function to be
        called with the status.
        """

    def add(self, exchange: Exchange, /) -> None:
        """Add what is known of a request to its span. Called in the request's context."""

    def close(self) -> None:
        """Send what has not been sent, if that does not take long."""


def opened(plugins: Plugins, settings: Settings) -> Tracing | None:
    """Tracing by the first tracer that the settings want. None: by none."""
    for tracer in plugins.tracers().values():
        tracing: Tracing | None = tracer.open(settings)
        if tracing is not None:
            return tracing
    if settings.otel_endpoint is not None:
        logger.warning("no spans are sent: pip install maskrcnn-opentelemetry")
    return None
