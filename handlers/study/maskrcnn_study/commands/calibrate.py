"""`maskrcnn-server calibrate`"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_predict.progress import counting, working
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Calibrates
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.plugins import installed
from maskrcnn_study.changes import agreement
from maskrcnn_study.samples import Everything, KeepAbove, report_change, samples


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model folder; `int8.json` is written into it.")],
    pictures: Annotated[
        Path, typer.Argument(help="Folder of images like those to come; a few dozen are enough.")
    ],
    keep_above: KeepAbove = 0.25,
    everything: Everything = False,
    backend: BackendName = None,
) -> None:
    """Prepare a model for MASKRCNN_PRECISION=int8.

    The effect of each part of the network is measured and printed, and parts with too large an
    effect stay in float32.
    """
    console = Console(soft_wrap=True)
    if not model.is_dir():
        raise InvalidModel(f"{model}: no such folder; unpack an archive first")
    settings = environment.read(model=str(model), backend=backend)
    located = locate(installed(), settings.model, settings)
    chosen = choose_backend(installed(), located)
    if not isinstance(chosen, Calibrates):
        raise InvalidSetting(
            f"backend {chosen.name} does not calibrate; for a model in ONNX: maskrcnn-server "
            "export MODEL OUT --format onnx --int8 --calibrate IMAGES"
        )
    found = list(samples(pictures, settings.max_image_pixels))
    if not everything:
        console.print("part of the network: share of what is found that changes with it alone")
    config = located.config(chosen.name)
    max_change = None if everything else keep_above
    with working(console, "measuring"):
        written = chosen.calibrate(config, found, max_change, partial(report_change, console))
    console.print(f"{escape(str(written))} written; serve it with MASKRCNN_PRECISION=int8")
    before = chosen.load(replace(config, precision="float32"))
    after = chosen.load(replace(config, precision="int8"))
    with counting(console, "comparing both", len(found)) as count:
        said = agreement(before, after, found, count)
    console.print(said)
