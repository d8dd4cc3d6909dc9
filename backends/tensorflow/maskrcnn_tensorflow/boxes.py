"""Boxes: absolute x1, y1, x2, y2 in float32, whatever their leading dimensions."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def decode(deltas: tf.Tensor, anchors: tf.Tensor, clip: float) -> tf.Tensor:
    """Apply regression `deltas` (..., 4: dx, dy, dw, dh) to `anchors` (..., 4).

    dw and dh are clipped from above at `clip` (a natural logarithm) before the exponential.
    Source: Fast R-CNN (Girshick 2015), equation of bounding-box regression.
    """
    corners_low, corners_high = anchors[..., :2], anchors[..., 2:]
    extent = corners_high - corners_low
    centre = (corners_low + corners_high) * 0.5
    decoded_extent = tf.exp(tf.minimum(deltas[..., 2:], clip)) * extent
    decoded_centre = deltas[..., :2] * extent + centre
    half = decoded_extent * 0.5
    return tf.concat([decoded_centre - half, decoded_centre + half], axis=-1)


def clip_to(boxes: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Clip `boxes` (..., 4) to images of `sizes` (..., 2: height, width), which broadcast."""
    widths_heights = tf.cast(tf.reverse(sizes, axis=[-1]), boxes.dtype)
    return tf.clip_by_value(boxes, 0.0, tf.concat([widths_heights, widths_heights], axis=-1))


def swap_xy(boxes: tf.Tensor) -> tf.Tensor:
    """Turn x1, y1, x2, y2 into the y1, x1, y2, x2 of `tf.image`, and back."""
    return tf.gather(boxes, [1, 0, 3, 2], axis=-1)


def spread(cell: NDArray[np.float64], grid: tf.Tensor, stride: tf.Tensor) -> tf.Tensor:
    """`cell` (A, 4) around each place of a feature map: (height, width, A, 4).

    `grid` (2,) is the map's height and width, `stride` (2,) the distance of its places in both
    directions. The first is at (0, 0): there is no half-pixel offset.
    """
    xs = tf.cast(tf.range(grid[1]) * stride[1], tf.float32)
    ys = tf.cast(tf.range(grid[0]) * stride[0], tf.float32)
    grid_x, grid_y = tf.meshgrid(xs, ys)
    shifts = tf.stack([grid_x, grid_y, grid_x, grid_y], axis=-1)
    return shifts[:, :, None, :] + tf.constant(cell, tf.float32)
