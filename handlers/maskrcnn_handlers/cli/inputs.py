"""Checks of what a command is given, before anything that takes its time."""

from collections.abc import Iterable
from pathlib import Path

from maskrcnn_handlers.request import images
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.settings import Settings


def read_image(path: Path, settings: Settings) -> tuple[bytes, Image]:
    """The bytes and the pixels of an image file. Raises InvalidImage, naming the file."""
    if not path.is_file():
        raise InvalidImage(f"{path}: no such file")
    data = path.read_bytes()
    try:
        return data, images.decode(data, settings.max_image_pixels)
    except InvalidImage as error:
        raise InvalidImage(f"{path}: {error.message}") from None


def check_target(path: Path, what: str = "is there already: name another, or remove it") -> None:
    """Raises InvalidSetting if what is to be written is there, or cannot be."""
    if path.exists():
        raise InvalidSetting(f"{path}: {what}")
    taken = next((parent for parent in path.parents if parent.exists()), path)
    if not taken.is_dir():
        raise InvalidSetting(f"{path}: {taken} is no folder")


def check_names(given: str, known: Iterable[str], what: str) -> None:
    """Raises InvalidSetting, with what is known, if the name that is given is not."""
    if given not in known:
        raise InvalidSetting(f"{what} {given}: it is one of {', '.join(sorted(known))}")
