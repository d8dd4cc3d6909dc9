"""`maskrcnn-server convert`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_handlers.cli.showing import downloading
from maskrcnn_predict.inputs import read_image
from maskrcnn_predict.progress import counting, working
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Converts
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.hosting.startup import load_model
from maskrcnn_server.plugins import installed
from maskrcnn_study.annotations import coco_set
from maskrcnn_study.changes import agreement, change_in_ap
from maskrcnn_study.outputs import check_form, check_target


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
    """Convert a model to other files, ready to serve, and measure the change.

    Without annotations, both models are compared on the images of the demo models.
    """
    console = Console(soft_wrap=True)
    plugins, settings = installed(), environment.read(model=model, backend=backend)
    check_target(out)
    backends = plugins.backends().values()
    check_form(
        "--to", form, (name for b in backends if isinstance(b, Converts) for name in b.converters())
    )
    if (annotations is None) != (pictures is None):
        raise InvalidSetting("--coco and --images go together")
    truth = coco_set(annotations, pictures) if annotations and pictures else None
    with downloading(console) as progress:
        located = locate(plugins, settings.model, settings, progress)
    chosen = choose_backend(plugins, located)
    converters = chosen.converters() if isinstance(chosen, Converts) else {}
    if form not in converters:
        known = ", ".join(converters) or "nothing"
        raise InvalidModel(f"backend {chosen.name} does not convert to {form}, but to: {known}")
    config = located.config(chosen.name)
    with working(console, f"writing {out}"):
        converters[form](config, out)
    console.print(f"{escape(str(located.folder))} written to {escape(str(out))} as {form}")
    with working(console, "loading both models"):
        original = load_model(chosen, config)
        converted = load_model(chosen, replace(config, model_dir=out))
    if truth:
        with counting(console, "measuring both models", 2 * len(truth.paths)) as count:
            change: Table | str = change_in_ap(
                original, converted, truth, settings.max_image_pixels, count
            )
    else:
        samples = [path for demo in plugins.demos().values() for path in demo.images]
        decoded = [read_image(path, settings)[1] for path in samples]
        with counting(console, "comparing both models", len(decoded)) as count:
            change = agreement(original, converted, decoded, count)
    console.print(change)
