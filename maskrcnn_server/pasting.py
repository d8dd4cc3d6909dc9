"""Soft masks in boxes as run lengths, many masks together and without bitmaps: along a line of
pixels, a mask is linear between two samples, and its runs begin and end where it passes the
threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.rle import from_borders

if TYPE_CHECKING:
    from maskrcnn_server.masks import RoiMasks
    from maskrcnn_server.rle import RLE, Order

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

MAX_SAMPLES = 1 << 19
"""Maximum number of samples computed together, unless one mask has more."""
NEAR = 0.01
"""Distance in pixels of a border from a pixel's centre below which that pixel itself decides."""


def pasted(masks: RoiMasks, order: Order) -> list[RLE]:
    """The run lengths of masks, which say how they are pasted."""
    lines, m = masks.size[order == "columns"], masks.probabilities.shape[-1]
    together = max(1, MAX_SAMPLES // (lines * (m + 2)))
    starts = range(0, len(masks), together)
    places = np.arange(len(masks))
    return [rle for i in starts for rle in _pasted(masks.take(places[i : i + together]), order)]


def _pasted(masks: RoiMasks, order: Order) -> list[RLE]:
    n, m = len(masks), masks.probabilities.shape[-1]
    soft, size, axes = masks.probabilities, masks.size, [1, 0]
    if order == "columns":  # the rows of the transposed image
        soft, size, axes = soft.transpose(0, 2, 1), size[::-1], [0, 1]
    samples = np.zeros((n, m + 2, m + 2), np.float32)
    samples[:, 1:-1, 1:-1] = soft
    rows = samples.reshape(-1, m + 2)
    # Of each axis: along the lines, across them.
    low, high = masks.boxes.astype(np.float64).reshape(n, 2, 2)[:, :, axes].transpose(1, 2, 0)
    has_area = (low < high).all(0)
    spacing = np.where(has_area, high - low, m) / m

    first = np.floor(low[0] - spacing[0]).clip(0, size[0])
    last = (np.ceil(high[0] + spacing[0]) + 1).clip(first, size[0])
    count = (has_area * (last - first)).astype(np.int64)
    mask = np.repeat(np.arange(n), count)
    line = np.arange(len(mask)) - np.repeat(np.cumsum(count) - count - first.astype(int), count)
    row, upper, lower = _weights(line, low[0, mask], spacing[0, mask], m)
    row += mask * (m + 2)
    values = rows[row] * upper[:, None]
    values += rows[row + 1] * lower[:, None]
    values = values.ravel()

    # The zeros around a line are below the threshold, so there is an end for each start.
    inside = values >= masks.threshold
    passed = np.flatnonzero(inside[1:] != inside[:-1])
    before, after = values[passed].astype(np.float64), values[passed + 1].astype(np.float64)
    place, column = np.divmod(passed, m + 2)
    mask, line, row = mask[place], line[place], row[place]
    exact = column - 0.5 + (masks.threshold - before) / (after - before)
    exact = (exact * spacing[1, mask] + low[1, mask] - 0.5).clip(-1, size[1])
    border, nearest = np.ceil(exact).astype(np.int64), np.rint(exact).astype(np.int64)

    near = np.flatnonzero(np.abs(exact - nearest) < NEAR)
    there = mask[near]
    column, left, right = _weights(nearest[near], low[1, there], spacing[1, there], m)
    around = row[near] + [[0], [1]]
    sides = left * rows[around, column] + right * rows[around, column + 1]
    value = upper[place[near]] * sides[0] + lower[place[near]] * sides[1]
    border[near] = nearest[near] + ((value >= masks.threshold) == (near % 2 == 1))
    return from_borders(line * size[1] + border.clip(0, size[1]), mask, n, masks.size, order)


def _weights(
    pixels: Integers, low: Floats, spacing: Floats, m: int
) -> tuple[Integers, NDArray[np.float32], NDArray[np.float32]]:
    """The sample before the centre of each pixel, by its place in a frame of zeros, and the weights
    of this sample and the next."""
    place = (pixels + 0.5 - low) / spacing - 0.5
    before = np.floor(place).clip(-1, m - 1)
    weights = np.maximum(1 - np.abs(place - before - [[0], [1]]), 0).astype(np.float32)
    return before.astype(np.int64) + 1, weights[0], weights[1]
