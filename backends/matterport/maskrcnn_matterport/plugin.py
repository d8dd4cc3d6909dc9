"""What this distribution brings to the server."""

from collections.abc import Callable

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend

api_version = "1.0"


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """The Matterport backend."""
    register(MatterportBackend())
