"""The command that serves a model with TorchServe as the front end."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"
EXAMPLES = ("maskrcnn-server torchserve --model model --batch-size 4",)
"""Command lines that `--help` shows."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`torchserve`."""
    from maskrcnn_torchserve.command import torchserve

    register(Command("torchserve", torchserve, "Serve", EXAMPLES))
