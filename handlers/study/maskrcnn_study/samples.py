"""Images for calibration, and the options and output that go with them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from maskrcnn_handlers.request import images
from maskrcnn_predict.sources import suffixes
from maskrcnn_server.backend import Image, LayerChange
from maskrcnn_server.errors import InvalidImage, InvalidSetting

MAX_SAMPLES = 64
"""Maximum number of images for calibration; more do not change the ranges of activations."""
KeepAbove: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0,
        help="A part of the network that changes a larger share of what is found than this "
        "stays in float32.",
    ),
]
Everything: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Quantise every part, and measure none.")
]


def samples(folder: Path, max_pixels: int) -> Iterator[Image]:
    """Up to `MAX_SAMPLES` images of a folder, evenly spaced.

    Raises InvalidSetting if there are none, InvalidImage for one that cannot be read.
    """
    if not folder.is_dir():
        raise InvalidSetting(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes())
    if not paths:
        raise InvalidSetting(f"{folder}: there are no pictures in it ({', '.join(suffixes())})")
    step = -(-len(paths) // MAX_SAMPLES)
    for path in paths[::step]:
        try:
            yield images.decode(path.read_bytes(), max_pixels)
        except InvalidImage as error:
            raise InvalidImage(f"{path}: {error.message}") from None


def report_change(console: Console, change: LayerChange) -> None:
    """Print the effect of integers in one part of a network."""
    kept = "  stays in float32" if change.kept else ""
    console.print(f"{change.name:28} {change.share:7.4f}{kept}")
