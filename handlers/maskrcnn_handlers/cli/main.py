"""The program: its commands, and how it fails."""

import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli import (
    backends,
    bench,
    calibrate,
    check_backend,
    compare,
    convert,
    convert_results,
    delete,
    demo,
    deploy,
    doctor,
    evaluate,
    export,
    invoke,
    models,
    new_backend,
    new_engine,
    pack,
    predict,
    serve,
    status,
    torchserve,
    verify,
)
from maskrcnn_server.errors import MaskRCNNError

DEBUG = "--debug"

app = typer.Typer(
    name="maskrcnn-server",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for module in (
    *(serve, torchserve, predict, doctor, models, backends),
    *(convert, convert_results, calibrate, export, verify, evaluate, compare, demo, bench),
    *(pack, deploy, status, invoke, delete),
    *(new_backend, check_backend, new_engine),
):
    app.command()(getattr(module, module.__name__.rpartition(".")[2]))


@app.callback(epilog=f"{DEBUG}, anywhere, shows the traceback of an error.")
def options() -> None:
    """Serve Mask R-CNN models: boxes, classes, scores and masks of the objects in a picture."""


def main() -> None:
    """Run a command. An error is one line on stderr and exit code 1; `--debug` shows where."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        app(arguments)
    except Exception as error:
        if DEBUG in sys.argv:
            raise
        kind = error.code if isinstance(error, MaskRCNNError) else type(error).__name__
        hint = "" if isinstance(error, (MaskRCNNError, OSError)) else f" ({DEBUG} shows where)"
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error[/] ({kind}): {escape(str(error))}{hint}")
        sys.exit(1)
