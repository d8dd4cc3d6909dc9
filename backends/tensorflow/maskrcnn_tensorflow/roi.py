"""Regions of interest: which pyramid level serves a box, and what it looks like there."""

import math
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

LEVELS = (2, 3, 4, 5)

RoiAlign: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], tf.Tensor]
"""`roi_align(feature, boxes, images, resolution)`: what boxes (R, 4), in the coordinates of
`feature` (batch, height, width, channels), look like: (R, resolution, resolution, channels)."""


Level: TypeAlias = Callable[[tf.Tensor], tf.Tensor]
"""`level(root_area)`: which pyramid level is for boxes with these square roots of areas, in pixels;
not clamped to the levels that exist."""


def octave(root_area: tf.Tensor, epsilon: float = 0.0) -> tf.Tensor:
    """floor(4 + log2(root_area / 224 + epsilon)): Lin et al. 2017, equation 1."""
    return tf.floor(4 + tf.math.log(root_area / 224 + epsilon) / math.log(2))


def pyramid_roi_align(
    features: list[tf.Tensor],
    boxes: tf.Tensor,
    images: tf.Tensor,
    resolution: int,
    roi_align: RoiAlign,
    level: Level,
) -> tf.Tensor:
    """Features (R, resolution, resolution, channels) of `boxes` (R, 4), network coordinates.

    `features` are P2 to P5 of a batch, `images` (R,) says which image of it a box is in. A box is
    served by its `level`, clamped to 2..5.
    """
    extent = boxes[:, 2:] - boxes[:, :2]
    root_area = tf.sqrt(extent[:, 0] * extent[:, 1])
    clamped = tf.cast(tf.clip_by_value(level(root_area), LEVELS[0], LEVELS[-1]), tf.int32)
    members = [tf.where(clamped == i)[:, 0] for i in LEVELS]
    crops = [
        roi_align(feature, tf.gather(boxes, m) * (1 / 2**i), tf.gather(images, m), resolution)
        for i, feature, m in zip(LEVELS, features, members, strict=True)
    ]
    order = tf.math.invert_permutation(tf.concat(members, axis=0))
    return tf.gather(tf.concat(crops, axis=0), order)


def sample_grid(
    feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor, samples: tf.Tensor, offset: float
) -> tf.Tensor:
    """Sample `feature` bilinearly in each box, at `samples` (2,: in a column, in a row) places.

    Samples lie at x1 + (i + 0.5) * width / samples + offset. Beyond the border of `feature` there
    are zeros: pad it by what boxes and offset reach over it.
    """
    places = tf.cast(tf.reverse(tf.convert_to_tensor(samples), axis=[0]), tf.float32)
    spacing = (boxes[:, 2:] - boxes[:, :2]) / places
    first = boxes[:, :2] + spacing / 2 + offset
    last = first + spacing * (places - 1)
    largest = tf.cast(tf.reverse(tf.shape(feature)[1:3], axis=[0]), tf.float32) - 1
    corners = tf.reverse(tf.stack([first / largest, last / largest], axis=1), axis=[2])
    corners = tf.reshape(corners, [-1, 4])
    return tf.image.crop_and_resize(feature, corners, images, samples)
