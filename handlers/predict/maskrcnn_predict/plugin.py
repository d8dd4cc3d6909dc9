"""The command that predicts for files, folders and addresses."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"
EXAMPLES = (
    "maskrcnn-server predict photos --model model.tar.gz --out drawn",
    "maskrcnn-server predict photo.jpg --url http://127.0.0.1:8080 --json found.json",
)
"""Command lines that `--help` shows."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`predict`."""
    from maskrcnn_predict.command import predict

    register(Command("predict", predict, "Serve", EXAMPLES))
