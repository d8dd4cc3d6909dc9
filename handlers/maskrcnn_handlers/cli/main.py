"""The program: its commands, and how it fails."""

import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_server.errors import MaskRCNNError
from maskrcnn_server.plugins import Plugins

DEBUG = "--debug"


def program(plugins: Plugins) -> typer.Typer:
    """The program with the commands of these plugins."""
    app = typer.Typer(
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
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        program(Plugins())(arguments)
    except Exception as error:
        if DEBUG in sys.argv:
            raise
        kind = error.code if isinstance(error, MaskRCNNError) else type(error).__name__
        hint = "" if isinstance(error, (MaskRCNNError, OSError)) else f" ({DEBUG} shows where)"
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error[/] ({kind}): {escape(str(error))}{hint}")
        sys.exit(1)


def _options() -> None:
    """Serve Mask R-CNN models: boxes, classes, scores and masks of the objects in an image."""
