"""Images that a command is given."""

from pathlib import Path

from maskrcnn_handlers.request import images
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import InvalidImage
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
