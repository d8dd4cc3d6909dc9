"""The page to try a model by, and the pages of the API, as routes of the server."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """`/`, `/docs`, and what these pages need."""
    from maskrcnn_playground.docs import DocsRoutes
    from maskrcnn_playground.routes import PlaygroundRoutes

    register(PlaygroundRoutes())
    register(DocsRoutes())
