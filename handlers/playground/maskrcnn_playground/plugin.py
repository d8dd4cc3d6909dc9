"""The page to try a model by with its format, and the pages of the API."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes
from maskrcnn_server.formats import Format

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """`/`, `/docs`, and what these pages need."""
    from maskrcnn_playground.docs import DocsRoutes
    from maskrcnn_playground.routes import PlaygroundRoutes

    register(PlaygroundRoutes())
    register(DocsRoutes())


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """The format that the page draws."""
    from maskrcnn_playground.soft import Soft

    register(Soft())
