"""The program: its commands, and how it fails."""

import logging
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from maskrcnn_handlers.observe.logs import TEXT, JsonFormatter
from maskrcnn_server.errors import MaskRCNNError, PluginError
from maskrcnn_server.plugins import Plugins, installed

DEBUG = "--debug"


def program(plugins: Plugins) -> typer.Typer:
    """The program with the commands of these plugins."""

    class Group(TyperGroup):
        def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
            command = super().get_command(ctx, cmd_name)
            if command is None and plugins.broken:
                broken = "; ".join(map(str, plugins.broken))
                raise PluginError(f"no such command: {cmd_name}; broken plugins: {broken}")
            return command

    app = typer.Typer(
        cls=Group,
        name="maskrcnn-server",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(epilog=f"{DEBUG}, anywhere, shows the traceback of an error.")(_options)
    for command in plugins.commands().values():
        app.command(command.name, rich_help_panel=command.group)(command.run)
    return app


def main() -> None:
    """Run a command. An error is one line on stderr and exit code 1; `--debug` shows where."""
    logging.basicConfig(format=TEXT, level=logging.WARNING)
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        program(installed())(arguments)
    except Exception as error:
        if DEBUG in sys.argv:
            raise
        kind = error.code if isinstance(error, MaskRCNNError) else type(error).__name__
        hint = "" if isinstance(error, (MaskRCNNError, OSError)) else f" ({DEBUG} shows where)"
        if any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers):
            logging.getLogger(__name__).critical("error (%s): %s%s", kind, error, hint)
            sys.exit(1)
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error[/] ({kind}): {escape(str(error))}{hint}")
        sys.exit(1)


def _options() -> None:
    """Serve Mask R-CNN models: boxes, classes, scores and masks of the objects in an image."""
