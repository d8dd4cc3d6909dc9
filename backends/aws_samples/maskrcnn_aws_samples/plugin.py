"""Additions of this distribution to the server."""

from collections.abc import Callable

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_server import hookimpl
from maskrcnn_server.backend import Backend

api_version = "1.0"


@hookimpl
def register_backends(register: Callable[[Backend], None]) -> None:
    """The AWS Samples backend."""
    register(AwsSamplesBackend())
