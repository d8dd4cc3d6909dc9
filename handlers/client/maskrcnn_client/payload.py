"""From a picture, as one has it, to bytes that a server takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from maskrcnn_server.errors import InvalidImage, PayloadTooLarge
from maskrcnn_server.rle import Size

Picture: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[np.uint8] | PIL.Image.Image"
"""A path, the bytes of an image file, pixels uint8 (height, width, 3) RGB or (height, width) gray,
or Pillow's image."""

MIB = 1 << 20
QUALITIES = (95, 85, 75)
SCALES = (0.75, 0.5, 0.375, 0.25, 0.125)
ORIENTATION = 0x0112
"""EXIF's tag; from TRANSPOSED on, rows are columns."""
TRANSPOSED = 5
SAVED_AS_IT_IS = ("L", "RGB", "I;16")


@dataclass(frozen=True)
class Payload:
    """What is sent for a picture."""

    body: bytes
    """An image file."""
    size: Size
    """Of the picture in it."""
    notes: tuple[str, ...] = ()
    """What was done to it so that it fits, in sentences."""


def encoded(picture: Picture) -> bytes:
    """An image file of the picture: its own, or a PNG.

    Raises InvalidImage for an array or image of another kind, OSError for a file that cannot be
    read.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, np.ndarray):
        gray = picture.ndim == 2
        if picture.dtype != np.uint8 or not (gray or picture.shape[2:] == (3,)) or not picture.size:
            raise InvalidImage(
                f"an array {picture.dtype} {picture.shape}: not uint8 (height, width, 3) in RGB, "
                "nor (height, width)"
            )
        return _saved(PIL.Image.fromarray(picture), "PNG", compress_level=1)
    if isinstance(picture, PIL.Image.Image):
        if picture.mode in ("F", "I"):
            raise InvalidImage(f"pixels of mode {picture.mode} have no agreed range: save 8 bits")
        plain = picture if picture.mode in SAVED_AS_IT_IS else picture.convert("RGB")
        return _saved(plain, "PNG", compress_level=1)
    return Path(picture).read_bytes()


def measured(data: bytes) -> Size:
    """Height and width of the picture in an image file, upright. Raises InvalidImage."""
    with _opened(data) as picture:
        if picture.format == "TIFF":
            # Pillow may have turned it already, and does not say so.
            turned = PIL.ImageOps.exif_transpose(picture)
            return turned.height, turned.width
        width, height = picture.size
        transposed = picture.getexif().get(ORIENTATION, 1) >= TRANSPOSED
        return (width, height) if transposed else (height, width)


def upright(data: bytes) -> PIL.Image.Image:
    """The picture in an image file, as the server sees it: upright, RGB. Raises InvalidImage."""
    with _opened(data) as opened:
        picture = PIL.ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):
            gray = np.asarray(picture).astype(np.int64) >> 8
            picture = PIL.Image.fromarray(gray.clip(0, 255).astype(np.uint8))
        picture.info.pop("transparency", None)
        return picture.convert("RGB")


def fitted(data: bytes, limit_mb: float | None) -> Payload:
    """The image file, or one of the same picture that has `limit_mb` MiB at most.

    What loses least is tried first: another lossless file, then JPEG, then fewer pixels.
    Raises InvalidImage, or PayloadTooLarge if nothing helps.
    """
    size = measured(data)
    if limit_mb is None or len(data) <= limit_mb * MIB:
        return Payload(data, size)
    reason = f"{len(data) / MIB:.1f} MiB are more than the {limit_mb:g} MiB that a request may have"
    for body, sent, how in _smaller(data):
        if len(body) <= limit_mb * MIB:
            return Payload(body, sent, (f"sent as {how}, because {reason}",))
    raise PayloadTooLarge(f"{reason}, and no smaller file is", max_payload_mb=limit_mb)


def _smaller(data: bytes) -> Iterator[tuple[bytes, Size, str]]:
    """Files of the same picture, the size of the picture in each, and what was done."""
    with _opened(data) as opened:
        is_lossy = opened.format in ("JPEG", "MPO", "WEBP")
    picture = upright(data)
    size = (picture.height, picture.width)
    # WebP has no room for larger pictures.
    if not is_lossy and max(size) < 1 << 14:
        yield _saved(picture, "WEBP", lossless=True), size, "lossless WebP"
    for quality in QUALITIES:
        body = _saved(picture, "JPEG", quality=quality)
        yield body, size, f"JPEG of quality {quality}"
    for scale in SCALES:
        height, width = (max(1, round(side * scale)) for side in size)
        reduced = picture.resize((width, height), PIL.Image.Resampling.LANCZOS)
        what = f"JPEG of {width} x {height} pixels, boxes and masks scaled back to {size[1]} x "
        yield _saved(reduced, "JPEG", quality=85), (height, width), f"{what}{size[0]}"


def _saved(picture: PIL.Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


@contextmanager
def _opened(data: bytes) -> Iterator[PIL.Image.Image]:
    """The image, its pixels yet to be decoded; all that is wrong with it is an InvalidImage."""
    try:
        with PIL.Image.open(BytesIO(data)) as picture:
            yield picture
    except PIL.UnidentifiedImageError:
        raise InvalidImage("the bytes are no image") from None
    # Decoders raise almost anything on broken bytes.
    except Exception as error:
        raise InvalidImage(f"the image cannot be read: {error}") from error
