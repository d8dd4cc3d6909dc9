"""Protocols of other servers, as routes of this one."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """The Open Inference Protocol."""
    from maskrcnn_protocols.open_inference.rest import OpenInferenceRoutes

    register(OpenInferenceRoutes())
