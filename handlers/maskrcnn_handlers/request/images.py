"""From the bytes of an image file to pixels."""

from io import BytesIO

import numpy as np
import PIL.Image
import PIL.ImageOps

from maskrcnn_handlers.request import arrays
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge, InvalidImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Pillow's names; its JPEG includes the MPO that some telephones write."""


def decode(data: bytes, max_pixels: int) -> Image:
    """The picture in `data`, an image file or an array in NumPy's format, upright.

    Gray, palette, CMYK, 1 bit and 16 bits a channel become RGB of 8 bits; transparency is dropped,
    as `cv2.imread` drops it in training; of several frames the first is taken. The header is read
    first: an image of more than `max_pixels` is refused before a pixel is decoded.

    Raises ImageTooLarge, or InvalidImage for bytes that are no such image, or not all of one.
    """
    try:
        if data.startswith(arrays.MAGIC):
            return arrays.decode(data, max_pixels)
        return _picture(data, max_pixels)
    except (InvalidImage, MemoryError):
        raise
    except PIL.UnidentifiedImageError:
        raise InvalidImage("the bytes are no JPEG, PNG, WebP, BMP or TIFF image") from None
    # Decoders raise almost anything on broken bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _picture(data: bytes, max_pixels: int) -> Image:
    # Pillow has a limit of its own, below which it warns and above which ours would not count.
    PIL.Image.MAX_IMAGE_PIXELS = None
    with PIL.Image.open(BytesIO(data), formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"the image has {width} x {height} pixels; at most {max_pixels} are allowed",
                width=width,
                height=height,
                max_pixels=max_pixels,
            )
        return _rgb(picture)


def _rgb(picture: PIL.Image.Image) -> Image:
    picture.load()
    PIL.ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode == "F":
        raise InvalidImage("floating-point pixels have no agreed range; save 8 or 16 bits")
    if picture.mode.startswith("I"):
        gray = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    # Pillow warns of transparency that a palette cannot lose; it is dropped here in any case.
    picture.info.pop("transparency", None)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
