"""Bilinear resizing with OpenCV's arithmetic, by OpenCV where it is installed."""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.rle import Size

WEIGHT_BITS = 11
"""Number of bits of OpenCV's fixed-point weights."""

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


def bilinear(image: Pixels, size: Size) -> Pixels:
    """Resize an image (height, width, 3) to another height and width."""
    opencv = _opencv()
    if opencv is not None:
        return np.asarray(opencv.resize(image, size[::-1], interpolation=opencv.INTER_LINEAR))
    if image.dtype == np.uint8:
        return fixed_point(np.asarray(image, np.uint8), size)
    return floating(np.asarray(image, np.float32), size)


@cache
def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def fixed_point(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize bytes like OpenCV's `resize` with INTER_LINEAR, to the last bit.

    Weights have 11 bits; a row is cut to 15 bits and each product to the pixel's 8 and 2 more.
    Source: opencv, modules/imgproc/src/resize.cpp.
    """
    height, width = size
    (left, right), (to_left, to_right) = _neighbours(image.shape[1], width, inside=True)
    (above, below), (to_above, to_below) = _neighbours(image.shape[0], height, inside=False)
    lines = image.reshape(len(image), -1)

    rows = np.take(lines, _channel_indices(left), axis=1) * np.repeat(to_left, 3)
    rows += np.take(lines, _channel_indices(right), axis=1) * np.repeat(to_right, 3)
    rows >>= 4
    result = np.empty((height, 3 * width), np.uint8)
    for y, target in enumerate(result):
        line = (rows[above[y]] * to_above[y]) >> 16
        line += (rows[below[y]] * to_below[y]) >> 16
        line += 2
        line >>= 2
        target[:] = line
    return result.reshape(height, width, 3)


def faded(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize bytes like scikit-image's `resize` with order 1 and a black surrounding, truncated.

    Pixels at the border of an image that grows fade to black, but for the clipping at the smallest
    and the largest value of the image. Truncation makes the order of the float64 products count.
    Source: scikit-image, transform/_warps.py; SciPy, ndimage/src/ni_interpolation.c.
    """
    height, width = size
    low, high = image.min(), image.max()
    above, to_above, to_below = _faded_neighbours(image.shape[0], height)
    left, to_left, to_right = _faded_neighbours(image.shape[1], width)
    lines = np.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(image.shape[0] + 2, -1)
    columns = [_channel_indices(left + shift) for shift in (1, 2)]
    shares = [np.repeat(share, 3) for share in (to_left, to_right)]
    result = np.empty((height, 3 * width), np.uint8)
    for y, target in enumerate(result):
        total = np.zeros(3 * width)
        for row, weight in ((above[y] + 1, to_above[y]), (above[y] + 2, to_below[y])):
            line = lines[row] * weight
            for column, share in zip(columns, shares, strict=True):
                total += np.take(line, column) * share
        target[:] = np.clip(total, low, high)
    return result.reshape(height, width, 3)


def _faded_neighbours(
    old: int, new: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The pixel at or before each place of a resized line, -1 to `old` - 1, its share, and that of
    the next pixel."""
    at = (np.arange(new) + 0.5) * (old / new) - 0.5
    before = np.floor(at)
    share = at - before
    return before.astype(np.int64), 1 - share, share


def floating(image: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Resize in float32, without rounding."""
    columns, to_columns = _places(image.shape[1], size[1])
    rows, to_rows = _places(image.shape[0], size[0])
    last = image.shape[1] - 1
    share = to_columns[:, None]
    wide = image[:, columns] * (1 - share) + image[:, np.minimum(columns + 1, last)] * share
    share = to_rows[:, None, None]
    below = wide[np.minimum(rows + 1, len(image) - 1)]
    return np.asarray(wide[rows] * (1 - share) + below * share, np.float32)


def _neighbours(
    length: int, new: int, *, inside: bool
) -> tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.int32], ...]]:
    """The two old places around each new one, and their weights.

    `inside`: beyond the border, the border counts once. If not, it counts twice and is rounded
    twice, as in OpenCV from top to bottom.
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
    """The old place before each new one, and the distance from it."""
    places = ((np.arange(new) + 0.5) * (length / new) - 0.5).clip(0, length - 1)
    low = np.floor(places)
    return low.astype(np.int64), (places - low).astype(np.float32)


def _channel_indices(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the three channels of `columns` in a line."""
    return (columns[:, None] * 3 + np.arange(3)).ravel()
