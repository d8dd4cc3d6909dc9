"""From an image, as a user has it, to a request's body. Only some of it needs Pillow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_client.errors import ImageRefused
from maskrcnn_client.libraries import pillow

if TYPE_CHECKING:
    import PIL.Image

Image: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[np.uint8] | PIL.Image.Image"
"""A path, the bytes of an image file, pixels uint8 (height, width, 3) RGB or (height, width) gray,
or a Pillow image."""

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

FILE = "application/x-image"
ARRAY = "application/x-npy"
ARRAY_START = b"\x93NUMPY"
MIB = 1 << 20
QUALITIES = (95, 85, 75)
SCALES = (0.75, 0.5, 0.375, 0.25, 0.125)
MAX_WEBP_SIDE = (1 << 14) - 1
ORIENTATION = 0x0112
"""EXIF's tag for how an image is turned."""
FIRST_TRANSPOSED = 5
"""Smallest orientation whose rows are columns."""


@dataclass(frozen=True)
class Payload:
    """A request's body, and what was done to the image so that it fits."""

    body: bytes
    """An image file, or an array in NumPy's format."""
    size: Size | None = None
    """Size of the image in the body. None: only the server knows."""
    original_size: Size | None = None
    """Size of the image before it was reduced. None: it was not."""
    notes: tuple[str, ...] = ()
    """Sentences about what was done."""

    @property
    def content_type(self) -> str:
        """Media type of the body."""
        return ARRAY if self.body.startswith(ARRAY_START) else FILE


def payload(image: Image) -> Payload:
    """The bytes of an image file as they are; pixels as an array in NumPy's format.

    Raises ImageRefused for an array or image of another kind, OSError for a file that cannot be
    read.
    """
    if isinstance(image, bytes):
        return Payload(image)
    if isinstance(image, str | os.PathLike):
        return Payload(Path(image).read_bytes())
    pixels = image if isinstance(image, np.ndarray) else np.asarray(rgb(image))
    is_gray = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (is_gray or pixels.shape[2:] == (3,)) or not pixels.size:
        raise ImageRefused(
            f"an array {pixels.dtype} {pixels.shape}: uint8 (height, width, 3) in RGB or "
            "(height, width) is allowed"
        )
    if is_gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    file = BytesIO()
    np.save(file, np.ascontiguousarray(pixels), allow_pickle=False)
    return Payload(file.getvalue(), (pixels.shape[0], pixels.shape[1]))


def measured(body: bytes) -> Size:
    """Height and width of the upright image in an image file. Raises ImageRefused, NotInstalled."""
    pil = pillow("the size of an image file")
    with opened(body) as image:
        if image.format == "TIFF":
            # Pillow may have turned it already, and does not say so.
            turned = pil.ImageOps.exif_transpose(image)
            return turned.height, turned.width
        width, height = image.size
        is_transposed = image.getexif().get(ORIENTATION, 1) >= FIRST_TRANSPOSED
        return (width, height) if is_transposed else (height, width)


def upright(body: bytes) -> "PIL.Image.Image":
    """The image in a body, upright and RGB as the server sees it.

    Raises ImageRefused, or NotInstalled without Pillow.
    """
    pil = pillow("decoding an image")
    if body.startswith(ARRAY_START):
        array: PIL.Image.Image = pil.Image.fromarray(np.load(BytesIO(body)))
        return array
    with opened(body) as image:
        return rgb(pil.ImageOps.exif_transpose(image))


def fitted(sent: Payload, limit_mb: float | None) -> Payload:
    """The payload, or one of the same image that has `limit_mb` MiB at most.

    What loses least is tried first: another lossless file, then JPEG, then fewer pixels. Raises
    ImageRefused, also if nothing helps, and NotInstalled without Pillow.
    """
    if limit_mb is None or len(sent.body) <= limit_mb * MIB:
        return sent
    reason = f"{len(sent.body) / MIB:.1f} MiB is more than the limit of {limit_mb:g} MiB a request"
    pillow(f"{reason}; making the image smaller")
    image = upright(sent.body)
    original = (image.height, image.width)
    for body, size, how in _smaller(sent.body, image):
        if len(body) <= limit_mb * MIB:
            note = f"sent as {how}, because {reason}"
            return Payload(body, size, None if size == original else original, (note,))
    raise ImageRefused(
        f"{reason}, and so is every smaller version of the image",
        code="payload_too_large",
        detail={"max_payload_mb": limit_mb},
    )


def _smaller(body: bytes, image: "PIL.Image.Image") -> Iterator[tuple[bytes, Size, str]]:
    """Files of the same image, the size of the image in each, and what was done."""
    pil = pillow("making an image smaller")
    size = (image.height, image.width)
    if body.startswith(ARRAY_START):
        yield _saved(image, "PNG", compress_level=1), size, "PNG"
    if not _is_lossy(body) and max(size) <= MAX_WEBP_SIDE:
        yield _saved(image, "WEBP", lossless=True), size, "lossless WebP"
    for quality in QUALITIES:
        yield _saved(image, "JPEG", quality=quality), size, f"JPEG of quality {quality}"
    for scale in SCALES:
        height, width = (max(1, round(side * scale)) for side in size)
        reduced = image.resize((width, height), pil.Image.Resampling.LANCZOS)
        how = f"JPEG of {width} x {height} pixels, boxes and masks scaled back to {size[1]} x "
        yield _saved(reduced, "JPEG", quality=85), (height, width), f"{how}{size[0]}"


def _is_lossy(body: bytes) -> bool:
    if body.startswith(ARRAY_START):
        return False
    with opened(body) as image:
        return image.format in ("JPEG", "MPO", "WEBP")


def rgb(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """The image in RGB of 8 bits, as the server makes it: transparency is dropped. Raises
    ImageRefused."""
    if image.mode == "F":
        raise ImageRefused("pixels of mode F have no agreed range: save 8 or 16 bits")
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.int64) >> 8
        image = pillow("decoding an image").Image.fromarray(gray.clip(0, 255).astype(np.uint8))
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _saved(image: "PIL.Image.Image", form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@contextmanager
def opened(body: bytes) -> Iterator[Any]:
    """The Pillow image, its pixels not yet decoded; whatever is wrong is an ImageRefused."""
    pil = pillow("decoding an image")
    try:
        with pil.Image.open(BytesIO(body)) as image:
            yield image
    except pil.UnidentifiedImageError:
        raise ImageRefused("the bytes are not an image") from None
    except ImageRefused:
        raise
    # Decoders raise almost anything on broken bytes.
    except Exception as error:
        raise ImageRefused(f"the image cannot be read: {error}") from error
