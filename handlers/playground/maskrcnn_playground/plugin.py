"""The page to try a model by, as routes of the server."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.2"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """`/` and what the page needs."""
    from maskrcnn_playground.routes import PlaygroundRoutes

    register(PlaygroundRoutes())
