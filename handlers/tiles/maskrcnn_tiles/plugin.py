"""The request options `tile`, `overlap` and `overview`."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """No route: images are cut on every route that finds instances."""
    from maskrcnn_tiles.answering import TileRequests

    register(TileRequests())
