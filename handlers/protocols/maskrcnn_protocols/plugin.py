"""Protocols of other servers, as routes of this one."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command, Routes
from maskrcnn_server.formats import Format

api_version = "1.0"
EXAMPLES = (
    "maskrcnn-server annotate label-studio --project 7 --url http://labels.example:8080 "
    "--server http://127.0.0.1:8080 --token TOKEN",
)
"""Command lines that `--help` shows."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`annotate`."""
    from maskrcnn_protocols.annotate import annotate

    register(Command("annotate", annotate, "Results", EXAMPLES))


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """Answers of Hugging Face's tasks, and of roboflow's server."""
    from maskrcnn_protocols.hugging_face import HuggingFaceDetection, HuggingFaceSegmentation
    from maskrcnn_protocols.roboflow import Roboflow

    for form in (HuggingFaceDetection(), HuggingFaceSegmentation(), Roboflow()):
        register(form)


@hookimpl
def register_routes(register: Callable[[Routes], None]) -> None:
    """The protocols, each of which a plugin of your own could bring in the same way."""
    from maskrcnn_protocols.containers import ContainerRoutes
    from maskrcnn_protocols.hugging_face import HuggingFaceRoutes
    from maskrcnn_protocols.img_url import ImageAddresses
    from maskrcnn_protocols.instances import InstancesRoutes
    from maskrcnn_protocols.label_studio.routes import LabelStudioRoutes
    from maskrcnn_protocols.open_inference.rest import OpenInferenceRoutes
    from maskrcnn_protocols.roboflow import RoboflowRoutes

    for one in (
        *(OpenInferenceRoutes(), InstancesRoutes(), HuggingFaceRoutes(), RoboflowRoutes()),
        *(LabelStudioRoutes(), ContainerRoutes(), ImageAddresses()),
    ):
        register(one)
