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

from maskrcnn_handlers.answer import stored
from maskrcnn_handlers.answer.answering import is_json
from maskrcnn_handlers.formats.writing import file_name
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
"""Of files by media type; what is not here is `.json`, or has none."""


def convert_results(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Stored answers: JSON, JSON lines, or folders."),
    ],
    form: Annotated[str, typer.Option("--format", help="Name of the format to write.")],
    out: Annotated[
        Path, typer.Option(help="Folder for a file of each answer, or FILE.json for a list of all.")
    ],
    pictures: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the pictures, for formats that draw on them."),
    ] = None,
) -> None:
    """Write stored answers of the old containers, or of this server, in another format.

    What cannot be read is reported, the others are written, and the exit code is 1.
    """
    console = Console(soft_wrap=True)
    chosen = _format(form, out, pictures)
    target = _List(out) if out.suffix == ".json" else _Folder(out, chosen)
    max_pixels = environment.read().max_image_pixels
    done = failed = empty = 0
    for place, answer in stored.read(files):
        try:
            if isinstance(answer, RequestError):
                raise answer
            if not answer.annotations and pictures is None:
                empty += 1
                continue
            picture = None if pictures is None else _picture(pictures, answer.img_id, max_pixels)
            target.add(answer.img_id, chosen.render(stored.prediction(answer, picture, max_pixels)))
            done += 1
        except RequestError as error:
            console.print(f"[red]{escape(f'{place}: {error.message}')}[/]")
            failed += 1
    target.close()
    console.print(f"{done} answers written to {escape(str(out))} as {form}")
    if empty:
        console.print(f"{empty} more have nothing in them, and only --images would tell a size")
    if failed:
        raise RequestError(f"{failed} of {done + failed} answers could not be written")


def _format(form: str, out: Path, pictures: Path | None) -> Format:
    """The format of this name, if it can be written there with what there is."""
    formats = installed().formats()
    if form not in formats:
        raise InvalidSetting(f"--format {form}: no such format; there are {', '.join(formats)}")
    chosen = formats[form]
    if isinstance(chosen, NeedsPixels) and pictures is None:
        raise InvalidSetting(f"--format {form} draws on the pictures: name their folder, --images")
    if out.suffix == ".json" and not is_json(chosen):
        raise InvalidSetting(f"--format {form} is no JSON: --out is a folder for its files")
    return chosen


class _List:
    """One file, with a list of all answers; those that are lists themselves are joined."""

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
    """A file for each answer, named after its picture, each once, and nowhere but in the folder."""

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
        """Nothing is left to write."""

    def _names(self, image_id: str | int) -> Iterator[str]:
        safe = re.sub(r"[^\w.-]|^\.+", "_", file_name(image_id))[:200]
        stem = Path(safe).stem or "answer"
        yield stem + self._suffix
        for i in itertools.count(2):
            yield f"{stem}-{i}{self._suffix}"


def _picture(folder: Path, image_id: str | int, max_pixels: int) -> Image:
    path = folder / file_name(image_id)
    if path == folder or not path.is_file():
        raise RequestError(f"there is no picture {str(image_id)[:80]!r} in {folder}")
    return images.decode(path.read_bytes(), max_pixels)
