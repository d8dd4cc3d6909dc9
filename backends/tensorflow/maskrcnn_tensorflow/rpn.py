"""The region proposal network (Ren et al. 2015) on a pyramid (Lin et al. 2017).

The frameworks rank, clip and filter its boxes each in their own way, from the parts that are here.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from maskrcnn_tensorflow import boxes
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.layers import Layers

DROPPED = float("-inf")
"""The score of what is no candidate any more."""


class Candidates(NamedTuple):
    """The best boxes of each level of each image."""

    boxes: tf.Tensor
    """(batch, levels, k, 4) float32, network coordinates, not clipped."""
    scores: tf.Tensor
    """(batch, levels, k) float32, descending; `DROPPED` where a level has fewer than k boxes."""


class Proposals(NamedTuple):
    """The proposals of a batch, image after image, best first within each."""

    boxes: tf.Tensor
    """(P, 4) float32, network coordinates."""
    scores: tf.Tensor
    """(P,) float32."""
    images: tf.Tensor
    """(P,) int32: index of the image in the batch."""


def candidates(
    features: list[tf.Tensor],
    layers: Layers,
    config: NetworkConfig,
    *,
    count: int,
    delta_clip: float,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Candidates:
    """The `count` best boxes of each level by `activation(logit)`; the earlier anchor wins a tie.

    `features` are P2 to P6; dw and dh are clipped at `delta_clip`.
    """
    level_boxes, level_scores = [], []
    levels = zip(features, config.anchor_sizes, config.anchor_strides, strict=True)
    for feature, size, stride in levels:
        hidden = tf.nn.relu(layers.conv("rpn/conv0", feature))
        batch, height, width = tf.unstack(tf.shape(feature)[:3])
        ranked = activation(tf.reshape(layers.conv("rpn/class", hidden), [batch, -1]))
        deltas = tf.reshape(layers.conv("rpn/box", hidden), [batch, -1, 4])
        anchors = boxes.anchors(size, stride, config.anchor_ratios, height, width)
        scores, top = tf.math.top_k(ranked, tf.minimum(count, tf.shape(ranked)[1]))
        decoded = boxes.decode(
            tf.gather(deltas, top, batch_dims=1),
            tf.gather(tf.reshape(anchors, [-1, 4]), top),
            delta_clip,
        )
        missing = count - tf.shape(scores)[1]
        level_boxes.append(tf.pad(decoded, [[0, 0], [0, missing], [0, 0]]))
        level_scores.append(tf.pad(scores, [[0, 0], [0, missing]], constant_values=DROPPED))
    return Candidates(tf.stack(level_boxes, axis=1), tf.stack(level_scores, axis=1))


def best(found: Candidates, config: NetworkConfig) -> Proposals:
    """Suppress overlaps within each level, keep the best of all levels of an image."""
    k = config.proposals
    batch, _, count = tf.unstack(tf.shape(found.scores))
    # One suppression for each image and level, all in one map: its iterations run in parallel.
    kept_boxes, kept_scores = tf.map_fn(
        lambda level: _suppress(level[0], level[1], config),
        (tf.reshape(found.boxes, [-1, count, 4]), tf.reshape(found.scores, [-1, count])),
        fn_output_signature=(tf.float32, tf.float32),
        parallel_iterations=16,
    )
    kept_boxes = tf.reshape(kept_boxes, [batch, -1, 4])
    top_scores, top = tf.math.top_k(tf.reshape(kept_scores, [batch, -1]), k)
    present = tf.where(top_scores > DROPPED)
    return Proposals(
        tf.gather_nd(tf.gather(kept_boxes, top, batch_dims=1), present),
        tf.gather_nd(top_scores, present),
        tf.cast(present[:, 0], tf.int32),
    )


def _suppress(
    level_boxes: tf.Tensor, scores: tf.Tensor, config: NetworkConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Non-maximum suppression of one level: `config.proposals` boxes and scores, padded."""
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes.swap_xy(level_boxes),
        scores=scores,
        max_output_size=config.proposals,
        iou_threshold=config.proposal_nms_threshold,
        score_threshold=DROPPED,
        pad_to_max_output_size=True,
    )
    present = tf.range(config.proposals) < count
    return (
        tf.gather(level_boxes, kept),
        tf.where(present, tf.gather(scores, kept), DROPPED),
    )
