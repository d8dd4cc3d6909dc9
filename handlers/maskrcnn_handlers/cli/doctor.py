"""`maskrcnn-server doctor`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.examining import examine, examine_model
from maskrcnn_server import settings as environment
from maskrcnn_server.errors import InvalidModel, MaskRCNNError
from maskrcnn_server.hosting.models_file import SUFFIXES, read_models


def doctor(
    model: Annotated[
        str, typer.Argument(help="Folder, archive, address or zoo name; or a models.yaml.")
    ],
    backend: Annotated[
        str | None, typer.Option(help="Ask this backend only (default: every installed one).")
    ] = None,
) -> None:
    """Say what kind of model there is, and whether it would be served: then the exit code is 0.

    The environment counts, as it does for `serve`.
    """
    console = Console(soft_wrap=True)
    if model.endswith(SUFFIXES):
        _examine_all(Path(model), backend, console)
    else:
        examine(model, backend, console)


def _examine_all(file: Path, backend: str | None, console: Console) -> None:
    """Show every model of a `models.yaml`. Raises InvalidModel if one would not be served."""
    settings, refused = environment.read(backend=backend), []
    for spec in read_models(file, settings.model):
        console.print(f"[bold]{spec.name}[/]")
        try:
            examine_model(spec.settings, settings, console)
        except MaskRCNNError as error:
            console.print(f"[red]problem:[/] {escape(error.message)}")
            refused.append(spec.name)
    if refused:
        raise InvalidModel(f"of {file}, {', '.join(refused)} would not be served")
