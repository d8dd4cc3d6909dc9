"""Registers the formats of this package, by the hook that any plugin uses."""

from collections.abc import Callable

from maskrcnn_handlers.formats.coco_results import CocoResults
from maskrcnn_handlers.formats.sagemaker import SageMaker
from maskrcnn_handlers.formats.soft import Soft
from maskrcnn_server import hookimpl
from maskrcnn_server.formats import Format


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """The notebooks' format, COCO's, and the playground's."""
    register(SageMaker())
    register(CocoResults())
    register(Soft())
