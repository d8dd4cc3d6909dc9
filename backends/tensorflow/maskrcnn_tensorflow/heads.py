"""What is in a region: its class and refined box (Girshick 2015), its mask (He et al. 2017)."""

from typing import NamedTuple

import tensorflow as tf

from maskrcnn_tensorflow import boxes
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.layers import Layers
from maskrcnn_tensorflow.rpn import Proposals


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


def classify(
    regions: tf.Tensor,
    proposals: Proposals,
    sizes: tf.Tensor,
    layers: Layers,
    config: NetworkConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Class logits (P, 1 + classes) and the box of every class (P, 1 + classes, 4), clipped.

    `regions` (P, 7, 7, channels) are flattened in the order y, x, channel: that is the order of
    `fastrcnn/fc6`'s rows here, whatever it was in the checkpoint.
    """
    flat = tf.reshape(regions, [-1, layers["fastrcnn/fc6"].kernel.shape[0]])
    hidden = tf.nn.relu(layers.dense("fastrcnn/fc6", flat))
    hidden = tf.nn.relu(layers.dense("fastrcnn/fc7", hidden))
    logits = layers.dense("fastrcnn/outputs/class", hidden)
    deltas = tf.reshape(layers.dense("fastrcnn/outputs/box", hidden), [tf.shape(hidden)[0], -1, 4])
    decoded = boxes.decode(
        deltas / tf.constant(config.box_regression_weights),
        proposals.boxes[:, None],
        config.delta_clip,
    )
    return logits, boxes.clip_to(decoded, tf.gather(sizes, proposals.images)[:, None])


def select(
    logits: tf.Tensor,
    class_boxes: tf.Tensor,
    images: tf.Tensor,
    batch: tf.Tensor,
    score_threshold: tf.Tensor,
    limit: tf.Tensor,
    config: NetworkConfig,
) -> Found:
    """The best `limit` detections that score `score_threshold` or more, suppressed in each class.

    Classes are kept apart by shifting each one's boxes by class * (largest coordinate + 1), as
    TensorPack's `fastrcnn_predictions` does: float32 rounds a shifted box, and so its overlaps.
    """
    probabilities = tf.nn.softmax(logits)

    def one(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        mine = tf.where(images == image)[:, 0]
        own_boxes = tf.gather(class_boxes, mine)[:, 1:]
        # Class after class, as the original lists them: equal scores are settled by order.
        own_scores = tf.transpose(tf.gather(probabilities, mine)[:, 1:])
        over = tf.where(own_scores >= score_threshold)
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


def masks(regions: tf.Tensor, labels: tf.Tensor, layers: Layers, convs: int) -> tf.Tensor:
    """Mask probabilities (D, 2m, 2m) of `regions` (D, m, m, channels), each for its own label.

    Of the last layer only the label's output channel is computed: class k is channel k - 1.
    """
    x = regions
    for i in range(convs):
        x = tf.nn.relu(layers.conv(f"maskrcnn/fcn{i}", x))
    x = tf.nn.relu(layers.deconv("maskrcnn/deconv", x))
    kernel, bias = layers["maskrcnn/conv"]
    own_kernel = tf.gather(tf.transpose(kernel[0, 0]), labels - 1)
    own_bias = tf.gather(bias, labels - 1)
    return tf.sigmoid(tf.einsum("dhwc,dc->dhw", x, own_kernel) + own_bias[:, None, None])
