"""Size of the image in a file, without its pixels."""

from pathlib import Path

import PIL.Image

from maskrcnn_handlers.request.images import readable
from maskrcnn_server.errors import InvalidImage
from maskrcnn_server.rle import Size

ORIENTATION = 274
"""EXIF's tag of the orientation."""
QUARTER_TURNS = (5, 6, 7, 8)
"""Orientations of images whose stored rows are columns."""


def measured(path: Path) -> Size:
    """Height and width of the upright image in a file, by its header. Raises InvalidImage."""
    try:
        with PIL.Image.open(path, formats=readable()) as image:
            width, height = image.size
            is_turned = image.getexif().get(ORIENTATION) in QUARTER_TURNS
    # Decoders raise almost anything on broken bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InvalidImage(f"{path}: {error}") from error
    return (width, height) if is_turned else (height, width)
