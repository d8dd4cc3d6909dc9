"""`maskrcnn-server export`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.progress import downloading
from maskrcnn_handlers.cli.serve import BackendName
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Exports
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.startup import choose_backend, fetched


def export(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    out: Annotated[Path, typer.Argument(help="What to write; it must not be there yet.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="saved_model (TensorFlow Serving), of the backends that come along.",
        ),
    ] = "saved_model",
    backend: BackendName = None,
) -> None:
    """Write a model for another program, such as TensorFlow Serving."""
    console = Console(soft_wrap=True)
    plugins = Plugins()
    if out.exists():
        raise InvalidSetting(f"{out}: is there already")
    with downloading(console) as progress:
        settings = fetched(plugins, environment.read(model=model, backend=backend), progress)
    chosen = choose_backend(plugins, settings)
    exporters = chosen.exporters() if isinstance(chosen, Exports) else {}
    if form not in exporters:
        known = ", ".join(exporters) or "nothing"
        raise InvalidModel(f"backend {chosen.name} does not write {form}; it writes {known}")
    out.parent.mkdir(parents=True, exist_ok=True)
    exporters[form](environment.model_config(settings, chosen.name), out)
    console.print(f"{escape(settings.model)} written to {escape(str(out))} as {form}")
