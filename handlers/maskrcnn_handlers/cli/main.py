"""The program: its commands, and how it fails."""

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from maskrcnn_handlers.observe.logs import TEXT, JsonFormatter
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError, PluginError, redacted
from maskrcnn_server.plugins import Plugins, installed

DEBUG = "--debug"
DISTRIBUTIONS = {
    "maskrcnn-predict": ("demo", "predict"),
    "maskrcnn-annotation-formats": ("convert-results",),
    "maskrcnn-plugin-kit": ("new-backend", "check-backend", "new-engine"),
    "maskrcnn-protocols": ("annotate",),
    "maskrcnn-sagemaker": ("pack", "deploy", "status", "invoke", "delete"),
    "maskrcnn-study": (
        *("convert", "calibrate", "export", "verify", "evaluate", "compare", "bench", "faults"),
    ),
    "maskrcnn-torchserve": ("torchserve",),
}
"""Commands of this project's other distributions, by distribution."""
EXAMPLES = (
    "maskrcnn-server demo --keep",
    "maskrcnn-server doctor model.tar.gz",
    "maskrcnn-server serve model.tar.gz",
    "maskrcnn-server predict photos --model model.tar.gz --out drawn",
)
"""Command lines that `--help` shows."""
NEXT = {
    "backend_not_selected": "maskrcnn-server backends",
    "invalid_model": "maskrcnn-server doctor MODEL",
    "invalid_plugin": "maskrcnn-server backends",
    "invalid_setting": "maskrcnn-server COMMAND --help, or docs/settings.md",
    "no_answer": "maskrcnn-server serve MODEL",
}
"""Commands to run after an error, by its code."""


def program(plugins: Plugins) -> typer.Typer:
    """The program with the commands of these plugins."""

    class Group(TyperGroup):
        def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
            command = super().get_command(ctx, cmd_name)
            if command is None and plugins.broken:
                broken = "; ".join(map(str, plugins.broken))
                raise PluginError(f"no such command: {cmd_name}; broken plugins: {broken}")
            for distribution, names in DISTRIBUTIONS.items():
                if command is None and cmd_name in names:
                    raise InvalidSetting(f"{cmd_name} is not installed: pip install {distribution}")
            return command

    app = typer.Typer(
        cls=Group, name="maskrcnn-server", no_args_is_help=True, pretty_exceptions_enable=False
    )
    app.callback(epilog=_epilog(EXAMPLES, f"{DEBUG}, anywhere, shows the traceback of an error."))(
        _options
    )
    for command in plugins.commands().values():
        epilog = _epilog(command.examples)
        app.command(command.name, rich_help_panel=command.group, epilog=epilog)(command.run)
    return app


def _epilog(examples: Sequence[str], *others: str) -> str:
    """Text below the options of `--help`: a paragraph is a line."""
    lines = ["[bold]Examples[/]", *map(escape, examples)] if examples else []
    return "\n\n".join([*lines, *others])


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
        if isinstance(error, MaskRCNNError) and error.code in NEXT:
            hint = f"; next: {NEXT[error.code]}"
        if any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers):
            logging.getLogger(__name__).critical("error (%s): %s%s", kind, error, hint)
            sys.exit(1)
        # The error is the last line.
        for handler in logging.getLogger().handlers:
            handler.flush()
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error[/] ({kind}): {escape(redacted(str(error)) + hint)}")
        sys.exit(1)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"maskrcnn-server {version('maskrcnn-server')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Serve Mask R-CNN models: boxes, classes, scores and masks of the objects in an image."""
