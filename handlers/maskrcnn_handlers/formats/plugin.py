"""Registers the formats of this package, by the hook that any plugin uses."""

from collections.abc import Callable

from maskrcnn_handlers.formats.coco_results import CocoResults
from maskrcnn_handlers.formats.sagemaker import SageMaker
from maskrcnn_server import hookimpl
from maskrcnn_server.formats import Format

api_version = "1.0"


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """The notebooks' format and COCO's."""
    register(SageMaker())
    register(CocoResults())
