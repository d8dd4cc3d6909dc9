"""Pixels as they are: arrays in NumPy's file format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_server.errors import ImageTooLarge, InvalidImage

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image

MAGIC = b"\x93NUMPY"
HEADER = re.compile(
    rb"""\{(?=[^}]*descr.: *.[|<>=]?u1['"])(?=[^}]*fortran_order.: *(True|False))"""
    rb"""(?=[^}]*shape.: *\((\d+), *(\d+), *3,? *\))[^{}]*\}\s{0,999}"""
)
"""Header of an image. NumPy's own reader fails in threads of Python 3.11 (cpython#106905)."""


def check(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageTooLarge for an image of more than `max_pixels`."""
    if width * height > max_pixels:
        said = f"the image has {width} x {height} pixels; at most {max_pixels} are allowed"
        raise ImageTooLarge(said, width=width, height=height, max_pixels=max_pixels)


def decode(data: bytes, max_pixels: int) -> Image:
    """The image in `data`: RGB, uint8 (height, width, 3). No other array is one.

    The header is read first, and nothing in it is executed: what it promises is held against the
    bytes that there are. Raises ImageTooLarge, or InvalidImage.
    """
    start = {b"\x01\x00": 10, b"\x02\x00": 12}.get(data[6:8], 0)
    end = start + int.from_bytes(data[8:start], "little")
    head = HEADER.fullmatch(data, start, end)
    if head is None:
        raise InvalidImage(f"an array {data[start:end][:100]!r}, not uint8 (height, width, 3)")
    shape = int(head[2]), int(head[3]), 3
    check(min(shape[1], 10**9), min(shape[0], 10**9), max_pixels)
    if not len(data) - end == shape[0] * shape[1] * 3 > 0:
        raise InvalidImage(f"an array of shape {shape} with {len(data) - end} bytes")
    image = np.ndarray(shape, np.uint8, data, end, order="F" if head[1] == b"True" else "C")
    return np.array(image, order="C")
