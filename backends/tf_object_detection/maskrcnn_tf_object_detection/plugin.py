"""Additions of this distribution to the server."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend
from maskrcnn_tf_object_detection.backend import TFObjectDetectionBackend

api_version = "1.0"


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """The backend of the TensorFlow Object Detection API."""
    register(TFObjectDetectionBackend())
