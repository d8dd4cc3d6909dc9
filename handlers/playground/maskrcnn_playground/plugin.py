"""What a model is tried by: the page with its format, the pages of the API, and a demo."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command, Routes
from maskrcnn_server.formats import Format

api_version = "1.0"

EXAMPLES = (
    "maskrcnn-server demo --image photo.jpg --out drawn.png",
    "maskrcnn-server demo --open",
)
"""Command lines that `demo --help` shows."""


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


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`demo`."""
    from maskrcnn_playground.demo import demo

    register(Command("demo", demo, "Serve", EXAMPLES))
