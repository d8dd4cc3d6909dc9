"""`maskrcnn-server convert`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_handlers.cli.progress import downloading
from maskrcnn_handlers.request import images
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Backend, Converts, Model
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.hosting.startup import choose_backend, fetched, load_model
from maskrcnn_server.plugins import installed
from maskrcnn_server.settings import Settings
from maskrcnn_study.changes import agreement, change_in_ap
from maskrcnn_study.evaluation import coco_set


def convert(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write; it must not be there yet.")],
    form: Annotated[
        str,
        typer.Option("--to", help="npz, npz16 (float16) or checkpoint (TensorFlow V2)."),
    ] = "npz",
    annotations: Annotated[
        Path | None,
        typer.Option("--coco", help="Annotations in COCO's format, to measure the change in AP."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--images", help="Folder of the annotated pictures.")
    ] = None,
    backend: BackendName = None,
) -> None:
    """Write a model in other files, ready to serve, and say what it costs.

    Without annotations, both are compared on the pictures that come with the demo models.
    """
    console = Console(soft_wrap=True)
    plugins = installed()
    if out.exists():
        raise InvalidSetting(f"{out}: is there already")
    if (annotations is None) != (pictures is None):
        raise InvalidSetting("--coco and --images go together")
    truth = coco_set(annotations, pictures) if annotations and pictures else None
    with downloading(console) as progress:
        settings = fetched(plugins, environment.read(model=model, backend=backend), progress)
    chosen = choose_backend(plugins, settings)
    converters = chosen.converters() if isinstance(chosen, Converts) else {}
    if form not in converters:
        known = ", ".join(converters) or "nothing"
        raise InvalidModel(f"backend {chosen.name} does not convert to {form}, but to: {known}")
    converters[form](environment.model_config(settings, chosen.name), out)
    console.print(f"{escape(settings.model)} written to {escape(str(out))} as {form}")
    original, converted = (_loaded(chosen, settings, where) for where in (settings.model, str(out)))
    if truth:
        console.print(change_in_ap(original, converted, truth, settings.max_image_pixels))
        return
    samples = [path for demo in plugins.demos().values() for path in demo.images]
    decoded = [images.decode(path.read_bytes(), settings.max_image_pixels) for path in samples]
    console.print(agreement(original, converted, decoded))


def _loaded(backend: Backend, settings: Settings, folder: str) -> Model:
    return load_model(backend, settings.model_copy(update={"model": folder}))
