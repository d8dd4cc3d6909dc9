"""The commands that predict: for files, folders and addresses, and for an included model."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"

DEMO_EXAMPLES = (
    "maskrcnn-server demo --image photo.jpg --out drawn.png",
    "maskrcnn-server demo --open",
)
PREDICT_EXAMPLES = (
    "maskrcnn-server predict photos --model model.tar.gz --out drawn",
    "maskrcnn-server predict photo.jpg --url http://127.0.0.1:8080 --json found.json",
)
"""Command lines that `--help` shows."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`demo` and `predict`."""
    from maskrcnn_predict.command import predict
    from maskrcnn_predict.demo import demo

    register(Command("demo", demo, "Serve", DEMO_EXAMPLES))
    register(Command("predict", predict, "Serve", PREDICT_EXAMPLES))
