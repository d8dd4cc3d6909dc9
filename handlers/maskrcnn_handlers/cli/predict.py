"""`maskrcnn-server predict`"""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from maskrcnn_handlers import images, pictures
from maskrcnn_handlers.cli.progress import downloading
from maskrcnn_handlers.cli.serve import BackendName, ModelOption
from maskrcnn_handlers.formats.coco_results import CocoResults
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import PredictOptions
from maskrcnn_server.errors import InvalidImage, RequestError
from maskrcnn_server.formats import Prediction
from maskrcnn_server.plugins import Plugins
from maskrcnn_server.startup import open_model


def predict(
    pictures_in: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to look at.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each answer (PNG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all answers, as COCO results.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score (default: the model's).")
    ] = None,
    model: ModelOption = None,
    backend: BackendName = None,
) -> None:
    """Find the instances in pictures, without a server.

    A picture that cannot be read is reported, the others are answered, and the exit code is 1.
    """
    console = Console(soft_wrap=True)
    settings = environment.read(model=model, backend=backend)
    drawings = {} if out is None else drawings_in(pictures_in, out)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.touch()
    with downloading(console) as progress:
        loaded = open_model(Plugins(), settings, progress)
    options = PredictOptions(
        score_threshold=score_threshold, mask_threshold=settings.mask_threshold
    )
    results: list[Any] = []
    failed = 0
    for path in track(pictures_in, description="predicting", console=console):
        try:
            image = images.decode(contents(path), settings.max_image_pixels)
        except RequestError as error:
            console.print(f"[red]{escape(f'{path}: {error.message}')}[/]")
            failed += 1
            continue
        (found,) = loaded.predict([image], options)
        prediction = Prediction(
            image_id=path.name, image=image, detections=found, model=loaded.metadata
        )
        results += json.loads(CocoResults().render(prediction))
        console.print(f"{escape(str(path))}: {len(found)} instances")
        if out is not None:
            overlay = pictures.overlay(image, found, loaded.metadata.categories)
            overlay.save(drawings[path])
    if json_file is not None:
        json_file.write_text(json.dumps(results))
    loaded.close()
    if failed:
        raise InvalidImage(f"{failed} of {len(pictures_in)} pictures could not be read")


def drawings_in(paths: list[Path], folder: Path) -> dict[Path, Path]:
    """Where each answer is drawn: pictures of one name in several folders get numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[Path, Path] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        names = (path.stem if i == 1 else f"{path.stem}-{i}" for i in itertools.count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        drawings[path] = folder / f"{name}.png"
    return drawings


def contents(path: Path) -> bytes:
    """The file's bytes. Raises InvalidImage with the reason."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(str(error.strerror)) from error
