"""From the bytes of an image file to pixels."""

from __future__ import annotations

import re
import weakref
from contextlib import suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.GifImagePlugin
import PIL.Image
import PIL.ImageOps

from maskrcnn_handlers.request import arrays, tiff
from maskrcnn_server.errors import InvalidImage
from maskrcnn_server.machine import give_back_memory_soon

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names; its JPEG includes the MPO that some telephones write."""
MORE_FORMATS = ("AVIF", "HEIF")
"""Names of formats that some installations of Pillow read."""
MAGIC = {
    rb"\xff\xd8\xff": "image/jpeg",
    rb"\x89PNG": "image/png",
    rb"RIFF....WEBP": "image/webp",
    rb"BM": "image/bmp",
    rb"GIF8": "image/gif",
    rb"II[*+]\x00|MM\x00[*+]": "image/tiff",
    rb"....ftyp(?:hei|hev|mif|msf|avi)": "image/heic",
    re.escape(arrays.MAGIC): "application/x-npy",
}
"""Media types by a pattern of the first bytes, of image files and of arrays."""
ANY_MAGIC = re.compile(b"|".join(b"(%s)" % pattern for pattern in MAGIC), re.DOTALL)
NO_IMAGES = (
    (rb"\x89PNG\x1a", "a PNG without its line ends; with curl, use --data-binary, not -d"),
    (rb"\s*[{\[]\s*[\"{]", "they are JSON; send it as Content-Type: application/json"),
    (rb"\x1f\x8b", "they are compressed by gzip; send the image itself"),
    (rb"(?s)....ftyp", "they are a video; send its frames"),
    (
        rb"(data:image/.{3,9}base64,|iVBORw0KG|/9j/)",
        "they are an image in base64; send the image itself, or JSON",
    ),
    (rb"--[-\w]+\r\n", "they are a form; send its boundary in Content-Type"),
    (rb"(?i)\s*<(!doctype|html|svg|\?xml)", "they are an HTML, XML or SVG text"),
    (rb"%PDF", "they are a PDF"),
)
"""Patterns of the beginnings of bytes that people send, and what to do."""
LARGE_BYTES = 32 << 20
"""Size above which freed memory is returned to the system after an image."""


class Gif(PIL.GifImagePlugin.GifImageFile):
    """A GIF of `max_pixels` at most, also where a frame lies outside, and Pillow enlarges it."""

    def __init__(self, file: BytesIO, max_pixels: int) -> None:
        self._limit = max_pixels
        super().__init__(file)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_size":
            arrays.check(value[0], value[1], self._limit)
        super().__setattr__(name, value)


@cache
def readable() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded in this installation."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    PIL.Image.init()
    return (*FORMATS, *(name for name in MORE_FORMATS if name in PIL.Image.OPEN))


def decode(data: bytes, max_pixels: int) -> Image:
    """The image in `data`, an image file or an array in NumPy's format, upright.

    Gray, palette, CMYK, 1 bit and 16 bits a channel become RGB of 8 bits; transparency is dropped,
    as `cv2.imread` drops it in training; of several frames the first is taken. The header is read
    first: an image of more than `max_pixels` is refused before a pixel is decoded.

    Raises ImageTooLarge, or InvalidImage for bytes that are no such image, or not all of one.
    """
    try:
        if data.startswith(arrays.MAGIC):
            return arrays.decode(data, max_pixels)
        image = _decoded(data, max_pixels)
        if image.nbytes > LARGE_BYTES:
            weakref.finalize(image, give_back_memory_soon).atexit = False
        return image
    except (InvalidImage, MemoryError):
        raise
    except PIL.UnidentifiedImageError:
        raise InvalidImage(unknown(data)) from None
    # Decoders raise almost anything on broken bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        said = f"the image cannot be decoded: {error}"
        if data.startswith(tiff.MAGIC):
            said = f"{tiff.describe(data)}: {said}; {tiff.ADVICE}"
        raise InvalidImage(said) from error


def media_type(data: bytes) -> str | None:
    """Media type that the first bytes tell, of an image file or an array. None: neither."""
    found = ANY_MAGIC.match(data)
    return [*MAGIC.values()][found.lastindex - 1] if found and found.lastindex else None


def unknown(data: bytes) -> str:
    """Bytes that Pillow does not recognise, in words."""
    if not data:
        return "the image is empty: there are no bytes"
    if data.startswith(tiff.MAGIC):
        return f"{tiff.describe(data)} of a kind that cannot be read; {tiff.ADVICE}"
    if media_type(data) == "image/heic":
        return "a HEIC or AVIF image, which is not read here; save it as JPEG or PNG"
    hint = next((f": {said}" for start, said in NO_IMAGES if re.match(start, data[:64])), "")
    return f"the bytes are no JPEG, PNG, WebP, BMP, GIF or TIFF image{hint}"


def _decoded(data: bytes, max_pixels: int) -> Image:
    # Pillow has a limit of its own, below which it warns and above which ours would not count.
    PIL.Image.MAX_IMAGE_PIXELS = None
    if is_tiff := data.startswith(tiff.MAGIC):
        tiff.check(data)
    is_gif, file = data.startswith(b"GIF8"), BytesIO(data)
    with Gif(file, max_pixels) if is_gif else PIL.Image.open(file, formats=readable()) as image:
        arrays.check(*image.size, max_pixels)
        is_inverted = is_tiff and tiff.prepare(image)
        image.load()
        PIL.ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            gray = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat((255 - gray if is_inverted else gray)[:, :, None], 3, axis=2)
        # Pillow warns of transparency that a palette cannot lose; it is dropped here in any case.
        image.info.pop("transparency", None)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
