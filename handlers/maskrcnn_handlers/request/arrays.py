"""Pixels as they are: arrays in NumPy's file format."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from maskrcnn_server.errors import ImageTooLarge, InvalidImage

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image

MAGIC = npy.MAGIC_PREFIX
ALLOWED = "uint8 of shape (height, width, 3)"


def decode(data: bytes, max_pixels: int) -> Image:
    """The image in `data`: RGB, uint8 (height, width, 3). No other array is one.

    The header is read first, and nothing in it is executed: what it promises is held against the
    bytes that there are. Raises ImageTooLarge, or InvalidImage.
    """
    file = BytesIO(data)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InvalidImage(f"an array of .npy version {version[0]}.{version[1]}, not 1.0 or 2.0")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise InvalidImage(f"an array of {str(dtype)[:40]} {str(shape)[:80]}, not {ALLOWED}")
    height, width, _ = shape
    if height * width > max_pixels:
        raise ImageTooLarge(
            f"the array has {str(width)[:20]} x {str(height)[:20]} pixels; "
            f"at most {max_pixels} are allowed",
            max_pixels=max_pixels,
        )
    if len(data) - file.tell() != height * width * 3:
        raise InvalidImage(f"an array of shape {shape} with {len(data) - file.tell()} bytes")
    pixels = np.frombuffer(data, np.uint8, offset=file.tell())
    return np.array(pixels.reshape(shape, order="F" if fortran_order else "C"), order="C")
