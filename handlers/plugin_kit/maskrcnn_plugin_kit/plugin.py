"""The commands for people who write plugins."""

from collections.abc import Callable

from maskrcnn_server import hookimpl
from maskrcnn_server.extensions import Command

api_version = "1.0"
NEW_BACKEND = ("maskrcnn-server new-backend yolact",)
NEW_ENGINE = ("maskrcnn-server new-engine numpy",)
CHECK_BACKEND = (
    "maskrcnn-server check-backend yolact --model example/model",
    "maskrcnn-server check-backend yolact --model example/model --without 'every shape'",
)
"""Command lines that `--help` shows."""


@hookimpl
def register_commands(register: Callable[[Command], None]) -> None:
    """`new-backend`, `check-backend`, `new-engine`."""
    from maskrcnn_plugin_kit.commands.check_backend import check_backend
    from maskrcnn_plugin_kit.commands.new_backend import new_backend
    from maskrcnn_plugin_kit.commands.new_engine import new_engine

    register(Command("new-backend", new_backend, "Plugins", NEW_BACKEND))
    register(Command("check-backend", check_backend, "Plugins", CHECK_BACKEND))
    register(Command("new-engine", new_engine, "Plugins", NEW_ENGINE))
