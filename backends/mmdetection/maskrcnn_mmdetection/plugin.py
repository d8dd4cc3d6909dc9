"""Additions of this distribution to the server."""

from collections.abc import Callable

from maskrcnn_mmdetection.backend import MMDetectionBackend
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend

api_version = "1.0"


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """The MMDetection backend."""
    register(MMDetectionBackend())
