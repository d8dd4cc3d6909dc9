"""`maskrcnn-server convert-results`"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_annotation_formats import reading
from maskrcnn_annotation_formats.reading import file_name
from maskrcnn_handlers.answer.answering import is_json
from maskrcnn_handlers.request import images
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidSetting, RequestError
from maskrcnn_server.formats import Format, NeedsPixels
from maskrcnn_server.plugins import installed

SUFFIXES = {
    "application/geo+json": ".geojson",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "text/plain": ".txt",
}
"""Suffixes of files by media type; what is not here is `.json`, or has none."""


def convert_results(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Stored results: JSON, JSON lines, or folders."),
    ],
    form: Annotated[str, typer.Option("--format", help="Name of the format to write.")],
    out: Annotated[
        Path, typer.Option(help="Folder for a file per result, or FILE.json for a list of all.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the images, for formats that draw on them."),
    ] = None,
) -> None:
    """Convert stored results of the old containers, or of this server, to another format.

    A result that cannot be read is reported, the others are written, and the exit code is 1.
    """
    console = Console(soft_wrap=True)
    chosen = _format(form, out, folder)
    target = _List(out) if out.suffix == ".json" else _Folder(out, chosen)
    max_pixels = environment.read().max_image_pixels
    done = failed = empty = 0
    for place, found in reading.stored(files):
        try:
            if isinstance(found, RequestError):
                raise found
            if not found.annotations and folder is None:
                empty += 1
                continue
            image = None if folder is None else _image(folder, found.img_id, max_pixels)
            prediction = reading.prediction(found, image, max_pixels)
            target.add(found.img_id, chosen.render(prediction))
            done += 1
        except RequestError as error:
            console.print(f"[red]{escape(f'{place}: {error.message}')}[/]")
            failed += 1
    target.close()
    console.print(f"{done} results written to {escape(str(out))} as {form}")
    if empty:
        console.print(f"{empty} more are empty: without --images their size is unknown")
    if failed:
        raise RequestError(f"{failed} of {done + failed} results could not be written")


def _format(form: str, out: Path, folder: Path | None) -> Format:
    """The format of this name. Raises InvalidSetting if it cannot be written to `out`."""
    formats = installed().formats()
    if form not in formats:
        raise InvalidSetting(f"--format {form}: no such format; there are {', '.join(formats)}")
    chosen = formats[form]
    if isinstance(chosen, NeedsPixels) and folder is None:
        raise InvalidSetting(
            f"--format {form} draws on the images: name their folder with --images"
        )
    if out.suffix == ".json" and not is_json(chosen):
        raise InvalidSetting(f"--format {form} is not JSON: --out must be a folder")
    return chosen


class _List:
    """One file, with a list of all results; those that are lists themselves are joined."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._values: list[Any] = []

    def add(self, _: str | int, body: bytes) -> None:
        value = json.loads(body)
        self._values += value if isinstance(value, list) else [value]

    def close(self) -> None:
        self._path.write_text(json.dumps(self._values))


class _Folder:
    """A file for each result, named after its image, each once, and never outside the folder."""

    def __init__(self, path: Path, form: Format) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._suffix = SUFFIXES.get(form.media_type, ".json" if is_json(form) else "")
        self._taken: set[str] = set()

    def add(self, image_id: str | int, body: bytes) -> None:
        name = next(name for name in self._names(image_id) if name not in self._taken)
        self._taken.add(name)
        (self._path / name).write_bytes(body)

    def close(self) -> None:
        """Does nothing: every file is complete."""

    def _names(self, image_id: str | int) -> Iterator[str]:
        safe = re.sub(r"[^\w.-]|^\.+", "_", file_name(image_id))[:200]
        stem = Path(safe).stem or "result"
        yield stem + self._suffix
        for i in itertools.count(2):
            yield f"{stem}-{i}{self._suffix}"


def _image(folder: Path, image_id: str | int, max_pixels: int) -> Image:
    path = folder / file_name(image_id)
    if path == folder or not path.is_file():
        raise RequestError(f"there is no image {str(image_id)[:80]!r} in {folder}")
    return images.decode(path.read_bytes(), max_pixels)
