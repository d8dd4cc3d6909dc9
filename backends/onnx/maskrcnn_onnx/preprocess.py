"""From a photograph to what the network sees."""

import math
from typing import TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from maskrcnn_onnx.description import Preprocessing
from maskrcnn_server.backend import Image
from maskrcnn_server.errors import ImageTooLarge
from maskrcnn_server.rle import Size

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""RGB (height, width, 3), 0 to 255."""

MAX_UNRESIZED_PIXELS = 4_000_000
"""Twice what the default resize gives: a network's memory grows with its image."""
WEIGHT_BITS = 11
"""Of OpenCV's fixed-point weights."""


def resized_size(size: Size, rule: Preprocessing) -> Size:
    """Height and width of a resized image; no side gets shorter than one pixel.

    Raises ImageTooLarge if images are not resized and this one has too many pixels.
    """
    height, width = size
    if rule.short_edge is None:
        if height * width > MAX_UNRESIZED_PIXELS:
            raise ImageTooLarge(
                f"the image has {width} x {height} pixels; this model takes images as they are, "
                f"and then at most {MAX_UNRESIZED_PIXELS} pixels",
                max_pixels=MAX_UNRESIZED_PIXELS,
            )
        return size
    scale = rule.short_edge / min(height, width)
    edges = (
        (rule.short_edge, scale * width) if height < width else (scale * height, rule.short_edge)
    )
    shrink = min(1.0, (rule.long_edge or math.inf) / max(edges))
    new_height, new_width = (max(1, int(edge * shrink + rule.rounding)) for edge in edges)
    return new_height, new_width


def padded_size(size: Size, rule: Preprocessing) -> Size:
    """Height and width, with its padding, of a resized image of this size."""
    height, width = (math.ceil(n / rule.multiple_of) * rule.multiple_of for n in size)
    return height, width


def resized(image: Image, size: Size, rule: Preprocessing) -> Pixels:
    """`image` at this height and width."""
    if size == image.shape[:2]:
        return image
    if rule.resampling == "pillow":
        picture = PIL.Image.fromarray(image)
        return np.array(picture.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))
    return _fixed_point(image, size) if rule.resampling == "opencv" else _float(image, size)


def batch(images: list[Pixels], shape: Size, rule: Preprocessing) -> NDArray[np.float32]:
    """Resized `images` as float32 (batch, 3, height, width), zeros where there is no image."""
    pixels = np.zeros((len(images), 3, *shape), np.float32)
    for target, image in zip(pixels, images, strict=True):
        height, width = image.shape[:2]
        for i in range(3):
            channel = target[i, :height, :width]
            of_image = image[..., i if rule.channels == "RGB" else 2 - i]
            np.subtract(of_image, np.float32(rule.mean[i]), out=channel, dtype=np.float32)
            if rule.std[i] != 1:
                channel /= np.float32(rule.std[i])
    return pixels


def _fixed_point(image: Image, size: Size) -> NDArray[np.uint8]:
    """What OpenCV's `resize` with INTER_LINEAR makes of bytes, to the last bit.

    Weights have 11 bits; a row is cut to 15 bits and each product to the pixel's 8 and 2 more.
    Source: opencv, modules/imgproc/src/resize.cpp.
    """
    height, width = size
    (left, right), (to_left, to_right) = _neighbours(image.shape[1], width, inside=True)
    (above, below), (to_above, to_below) = _neighbours(image.shape[0], height, inside=False)
    lines = image.reshape(len(image), -1)
    # Only what is between the first and the last line that is asked for.
    rows = np.take(lines, _of_pixels(left), axis=1) * np.repeat(to_left, 3)
    rows += np.take(lines, _of_pixels(right), axis=1) * np.repeat(to_right, 3)
    rows >>= 4
    result = np.empty((height, 3 * width), np.uint8)
    for y, target in enumerate(result):
        line = (rows[above[y]] * to_above[y]) >> 16
        line += (rows[below[y]] * to_below[y]) >> 16
        line += 2
        line >>= 2
        target[:] = line
    return result.reshape(height, width, 3)


def _float(image: Image, size: Size) -> NDArray[np.float32]:
    """The same in float32, not rounded."""
    columns, to_columns = _places(image.shape[1], size[1])
    rows, to_rows = _places(image.shape[0], size[0])
    lines = image.astype(np.float32)
    last = image.shape[1] - 1
    share = to_columns[:, None]
    wide = lines[:, columns] * (1 - share) + lines[:, np.minimum(columns + 1, last)] * share
    share = to_rows[:, None, None]
    below = wide[np.minimum(rows + 1, len(image) - 1)]
    return np.asarray(wide[rows] * (1 - share) + below * share, np.float32)


def _neighbours(
    length: int, new: int, *, inside: bool
) -> tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.int32], ...]]:
    """Of each new place the two it lies between, and their weights.

    `inside`: beyond the border, the border alone counts. Else it counts twice, and is rounded
    twice, as OpenCV has it from top to bottom.
    """
    places = ((np.arange(new) + 0.5) * (length / new) - 0.5).astype(np.float32)
    low = np.floor(places)
    share = places - low
    if inside:
        share[(low < 0) | (low >= length - 1)] = 0
        low = low.clip(0, length - 1)
    one = 1 << WEIGHT_BITS
    weights = (np.rint(part * one).astype(np.int32) for part in (1 - share, share))
    first = low.astype(np.int64)
    return (first.clip(0, length - 1), (first + 1).clip(0, length - 1)), tuple(weights)


def _places(length: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each new place the one before it, and how far behind that it lies."""
    places = ((np.arange(new) + 0.5) * (length / new) - 0.5).clip(0, length - 1)
    low = np.floor(places)
    return low.astype(np.int64), (places - low).astype(np.float32)


def _of_pixels(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of their three channels in a line."""
    return (columns[:, None] * 3 + np.arange(3)).ravel()
