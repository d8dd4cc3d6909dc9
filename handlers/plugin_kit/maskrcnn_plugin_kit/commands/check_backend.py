"""`maskrcnn-server check-backend`"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.showing import report_broken
from maskrcnn_server.optional import required
from maskrcnn_server.plugins import installed, select_backend

COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


def check_backend(
    name: Annotated[str, typer.Argument(help="The backend, installed.")],
    model: Annotated[
        Path,
        typer.Option(
            help="Folder with a model that it loads; small ones are checked faster.",
            exists=True,
            file_okay=False,
        ),
    ],
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out checks whose sentences contain this text; repeatable."),
    ] = None,
) -> None:
    """Check that a backend keeps what every backend promises, and say what to do where it does not.

    Exit code 0 if it keeps everything.
    """
    required("pytest", "maskrcnn-plugin-kit")
    from maskrcnn_plugin_kit.testing.pytest_plugin import Checked, check

    console = Console(soft_wrap=True)
    plugins = installed()
    registered = plugins.backends()
    report_broken(console, plugins)
    backend = select_backend(registered, name, lambda _: True)
    outcomes: Counter[str] = Counter()

    def heard(checked: Checked) -> None:
        outcomes[checked.outcome] += 1
        colour = COLOURS[checked.outcome]
        console.print(f"[{colour}]{checked.outcome:7}[/] {escape(checked.name)}")
        if checked.message:
            console.print(f"        {escape(checked.message)}")

    kept = check(backend, model, heard, without or ())
    console.print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    if without:
        console.print(f"left out: {escape(', '.join(without))}")
    if not kept:
        raise typer.Exit(1)
