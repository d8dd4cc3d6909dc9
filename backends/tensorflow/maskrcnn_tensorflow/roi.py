"""Regions of interest: which pyramid level serves a box, and what it looks like there."""

import math

import tensorflow as tf

LEVELS = (2, 3, 4, 5)


def pyramid_roi_align(
    features: list[tf.Tensor], boxes: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """Features (R, resolution, resolution, channels) of `boxes` (R, 4), network coordinates.

    `features` are P2 to P5 of a batch, `images` (R,) says which image of it a box is in. A box is
    served by level floor(4 + log2(sqrt(area) / 224 + 1e-6)), clamped to 2..5 (Lin et al. 2017,
    equation 1; the epsilon is TensorPack's).
    """
    extent = boxes[:, 2:] - boxes[:, :2]
    root_area = tf.sqrt(extent[:, 0] * extent[:, 1])
    octaves = tf.math.log(root_area / 224 + 1e-6) / math.log(2)
    level = tf.clip_by_value(tf.cast(tf.floor(4 + octaves), tf.int32), LEVELS[0], LEVELS[-1])
    members = [tf.where(level == i)[:, 0] for i in LEVELS]
    crops = [
        roi_align(feature, tf.gather(boxes, m) * (1 / 2**i), tf.gather(images, m), resolution)
        for i, feature, m in zip(LEVELS, features, members, strict=True)
    ]
    order = tf.math.invert_permutation(tf.concat(members, axis=0))
    return tf.gather(tf.concat(crops, axis=0), order)


def roi_align(
    feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """RoIAlign (He et al. 2017) with 2 x 2 bilinear samples a bin, half-pixel correct.

    `boxes` are in the coordinates of `feature` (batch, height, width, channels). Samples lie at
    x1 + (i + 0.5) * width / (2 * resolution) - 0.5; beyond the border they see the border pixel
    mirrored once, as in TensorPack's `crop_and_resize`.
    """
    padded = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    samples = 2 * resolution
    spacing = (boxes[:, 2:] - boxes[:, :2]) / samples
    first = boxes[:, :2] + 1.0 + spacing / 2 - 0.5
    last = first + spacing * (samples - 1)
    width_height = tf.cast(tf.reverse(tf.shape(padded)[1:3], axis=[0]), tf.float32) - 1
    corners = tf.reverse(tf.stack([first / width_height, last / width_height], axis=1), axis=[2])
    crops = tf.image.crop_and_resize(
        padded, tf.reshape(corners, [-1, 4]), images, [samples, samples]
    )
    return tf.nn.avg_pool2d(crops, 2, 2, "VALID")
