"""Protocols of other servers, as routes of this one."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Routes

api_version = "1.0"


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """The protocols, each of which a plugin of your own could bring in the same way."""
    from maskrcnn_protocols.img_url import ImageAddresses
    from maskrcnn_protocols.label_studio.routes import LabelStudioRoutes
    from maskrcnn_protocols.open_inference.rest import OpenInferenceRoutes

    for one in (OpenInferenceRoutes(), LabelStudioRoutes(), ImageAddresses()):
        register(one)
