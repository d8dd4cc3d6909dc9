"""What is in a region: its class and refined box (Girshick 2015), its mask (He et al. 2017)."""

from typing import NamedTuple

import tensorflow as tf

from maskrcnn_network.config import NetworkConfig
from maskrcnn_tensorflow import boxes
from maskrcnn_tensorflow.layers import Layers


class Found(NamedTuple):
    """The detections of a batch, image after image, best first within each."""

    boxes: tf.Tensor
    """(D, 4) float32, network coordinates."""
    scores: tf.Tensor
    """(D,) float32."""
    labels: tf.Tensor
    """(D,) int32, 1 to the number of classes."""
    images: tf.Tensor
    """(D,) int32: index of the image in the batch."""


def box_features(regions: tf.Tensor, head: str, layers: Layers) -> tf.Tensor:
    """What the box head of this scope makes of `regions` (R, height, width, channels): (R, units).

    Convolutions, where it has some, each with its ReLU before its norm; then fully connected layers
    `fc6` and `fc7`, or `fc`, that see regions flattened in the order y, x, channel; or the mean
    over all places, where it has none (C4, whose last ResNet group has done the work).
    """
    x = _convs(regions, head, "conv", layers)
    dense = [name for name in (f"{head}/fc6", f"{head}/fc7", f"{head}/fc") if name in layers]
    if not dense:
        return tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2])
    x = tf.reshape(x, [-1, layers[dense[0]].kernel.shape[0]])
    for name in dense:
        x = tf.nn.relu(layers.dense(name, x))
    return x


def classify(
    hidden: tf.Tensor,
    outputs: str,
    regions: tf.Tensor,
    sizes: tf.Tensor,
    weights: tuple[float, float, float, float],
    layers: Layers,
    config: NetworkConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Class probabilities (R, 1 + classes), boxes (R, 1 + classes, 4) of each class or (R, 1, 4).

    `hidden` (R, units) are features of the boxes `regions` (R, 4), in images of `sizes` (R, 2), to
    which boxes are clipped. Box regressions are divided by `weights`.
    """
    logits = tf.cast(layers.dense(f"{outputs}/class", hidden), tf.float32)
    deltas = tf.cast(layers.dense(f"{outputs}/box", hidden), tf.float32)
    deltas = tf.reshape(deltas, [tf.shape(hidden)[0], -1, 4])
    decoded = boxes.decode(deltas / tf.constant(weights), regions[:, None], config.delta_clip)
    return tf.nn.softmax(logits), boxes.clip_to(decoded, sizes[:, None])


def select(
    probabilities: tf.Tensor,
    class_boxes: tf.Tensor,
    images: tf.Tensor,
    batch: tf.Tensor,
    score_threshold: tf.Tensor,
    limit: tf.Tensor,
    config: NetworkConfig,
) -> Found:
    """The best `limit` detections that score `score_threshold` or more, suppressed in each class.

    `probabilities` and `class_boxes` as from `classify`, of regions in `images` (R,), 0 to `batch`.
    A box with a side shorter than `config.least_side` is no detection.
    Classes are kept apart by shifting each one's boxes by class * (largest coordinate + 1), as
    TensorPack's `fastrcnn_predictions` does: float32 rounds a shifted box, and so its overlaps.
    """
    class_boxes = tf.broadcast_to(class_boxes, tf.concat([tf.shape(probabilities), [4]], axis=0))

    def one(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        mine = tf.where(images == image)[:, 0]
        own_boxes = tf.gather(class_boxes, mine)[:, 1:]
        # Class after class, as the original lists them: equal scores are settled by order.
        own_scores = tf.transpose(tf.gather(probabilities, mine)[:, 1:])
        sides = own_boxes[..., 2:] - own_boxes[..., :2]
        large = tf.transpose(tf.reduce_min(sides, axis=-1) >= config.least_side)
        over = tf.where((own_scores >= score_threshold) & large)
        category, region = over[:, 0], over[:, 1]
        scores = tf.gather_nd(own_scores, over)
        candidates = tf.gather_nd(own_boxes, tf.stack([region, category], axis=1))
        shift = tf.cast(category, tf.float32)[:, None] * (tf.reduce_max(own_boxes) + 1)
        kept = tf.image.non_max_suppression(
            boxes.swap_xy(candidates + shift),
            scores,
            limit,
            config.detection_nms_threshold,
        )
        missing = limit - tf.shape(kept)[0]
        return (
            tf.pad(tf.gather(candidates, kept), [[0, missing], [0, 0]]),
            tf.pad(tf.gather(scores, kept), [[0, missing]]),
            tf.pad(tf.cast(tf.gather(category, kept), tf.int32) + 1, [[0, missing]]),
            tf.range(limit) < tf.shape(kept)[0],
        )

    kept_boxes, scores, labels, present = tf.map_fn(
        one,
        tf.range(batch),
        fn_output_signature=(tf.float32, tf.float32, tf.int32, tf.bool),
    )
    places = tf.where(present)
    return Found(
        tf.gather_nd(kept_boxes, places),
        tf.gather_nd(scores, places),
        tf.gather_nd(labels, places),
        tf.cast(places[:, 0], tf.int32),
    )


def masks(regions: tf.Tensor, labels: tf.Tensor, layers: Layers) -> tf.Tensor:
    """Mask probabilities (D, 2m, 2m) of `regions` (D, m, m, channels), each for its own label.

    Of the last layer only the label's output channel is computed: class k is channel k - 1.
    """
    x = _convs(regions, "maskrcnn", "fcn", layers)
    x = tf.nn.relu(layers.deconv("maskrcnn/deconv", x))
    kernel, bias = layers["maskrcnn/conv"]
    own_kernel = tf.gather(tf.transpose(kernel[0, 0]), labels - 1)
    own_bias = tf.gather(bias, labels - 1)
    x, own_kernel, own_bias = (tf.cast(t, tf.float32) for t in (x, own_kernel, own_bias))
    return tf.sigmoid(tf.einsum("dhwc,dc->dhw", x, own_kernel) + own_bias[:, None, None])


def _convs(x: tf.Tensor, head: str, kind: str, layers: Layers) -> tf.Tensor:
    """The 3 x 3 convolutions that a head begins with, as many as it has."""
    for i, name in enumerate(layers.numbered(f"{head}/{kind}")):
        x = layers.norm(f"{head}/gn{i}", tf.nn.relu(layers.conv(name, x)))
    return x
