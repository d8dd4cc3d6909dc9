"""The command that predicts for files, folders and addresses."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`predict`."""
    from maskrcnn_predict.command import predict

    register(Command("predict", predict, "Serve"))
