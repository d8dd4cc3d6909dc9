"""Streamed replies, on every route that finds instances."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """The server's own routes, for requests that accept a streamed reply."""
    from maskrcnn_streaming.routes import StreamedRoutes

    register(StreamedRoutes())
