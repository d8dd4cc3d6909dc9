"""The core's own formats and commands, registered by the hooks that any plugin uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

if TYPE_CHECKING:
    from maskrcnn_server.formats import Format

api_version = "1.0"

EXAMPLES = {
    "serve": (
        "maskrcnn-server serve model.tar.gz",
        "maskrcnn-server serve tensorpack:R50FPN2x --port 9000",
        "MASKRCNN_PRECISION=int8 maskrcnn-server serve model",
    ),
    "doctor": ("maskrcnn-server doctor model.tar.gz", "maskrcnn-server doctor models.yaml"),
    "models": ("maskrcnn-server models",),
    "backends": ("maskrcnn-server backends",),
}
"""Command lines that `--help` shows, by command."""


@hookimpl
def register_formats(register: Callable[[Format], None]) -> None:
    """The notebooks' format, and COCO's."""
    from maskrcnn_handlers.formats.coco_results import CocoResults
    from maskrcnn_handlers.formats.sagemaker import SageMaker

    register(SageMaker())
    register(CocoResults())


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """Serving, and looking at models and plugins."""
    from maskrcnn_handlers.cli.backends import backends
    from maskrcnn_handlers.cli.doctor import doctor
    from maskrcnn_handlers.cli.models import models
    from maskrcnn_handlers.cli.serve import serve

    for command in (
        Command("serve", serve, "Serve", EXAMPLES["serve"]),
        Command("doctor", doctor, "Models", EXAMPLES["doctor"]),
        Command("models", models, "Models", EXAMPLES["models"]),
        Command("backends", backends, "Plugins", EXAMPLES["backends"]),
    ):
        register(command)
