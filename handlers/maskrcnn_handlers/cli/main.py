"""The program: its commands, and how it fails."""

import logging
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli import backends, bench, demo, doctor, models, predict, serve
from maskrcnn_server.errors import MaskRCNNError

app = typer.Typer(
    name="maskrcnn-server",
    help="Serve Mask R-CNN models: boxes, classes, scores and masks of the objects in a picture.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for module in (serve, predict, doctor, models, backends, demo, bench):
    app.command()(getattr(module, module.__name__.rpartition(".")[2]))


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; `main` reads them."""


def main() -> None:
    """Run a command. An error is one line on stderr and exit code 1; `--debug` shows where."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    try:
        app()
    except MaskRCNNError as error:
        if "--debug" in sys.argv:
            raise
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error[/] ({error.code}): {escape(error.message)}")
        sys.exit(1)
    except OSError as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/]: {escape(str(error))}")
        sys.exit(1)
