"""The region proposal network (Ren et al. 2015) on a pyramid (Lin et al. 2017)."""

from typing import NamedTuple

import tensorflow as tf

from maskrcnn_tensorflow import boxes
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.layers import Layers


class Proposals(NamedTuple):
    """The proposals of a batch, image after image, best first within each."""

    boxes: tf.Tensor
    """(P, 4) float32, network coordinates."""
    scores: tf.Tensor
    """(P,) float32, logits."""
    images: tf.Tensor
    """(P,) int32: index of the image in the batch."""


def propose(
    features: list[tf.Tensor], sizes: tf.Tensor, layers: Layers, config: NetworkConfig
) -> Proposals:
    """Proposals of a batch with `features` P2 to P6 and `sizes` (batch, 2), before padding.

    TensorPack's `FPN.PROPOSAL_MODE=Level`: non-maximum suppression in each level by itself, then
    the best of all levels. Boxes without area are kept.
    """
    candidates = [
        _level(feature, size, stride, layers, config)
        for feature, size, stride in zip(
            features, config.anchor_sizes, config.anchor_strides, strict=True
        )
    ]
    # One suppression per image and level, all in one map: its iterations run in parallel.
    level_boxes = tf.stack([boxes.clip_to(b, sizes[:, None]) for b, _ in candidates], axis=1)
    level_scores = tf.stack([s for _, s in candidates], axis=1)
    shape, k = tf.shape(level_scores), config.proposals
    kept_boxes, kept_scores = tf.map_fn(
        lambda level: _suppress(level[0], level[1], config),
        (tf.reshape(level_boxes, [-1, k, 4]), tf.reshape(level_scores, [-1, k])),
        fn_output_signature=(tf.float32, tf.float32),
        parallel_iterations=16,
    )
    kept_boxes = tf.reshape(kept_boxes, [shape[0], -1, 4])
    kept_scores = tf.reshape(kept_scores, [shape[0], -1])
    top_scores, top = tf.math.top_k(kept_scores, k)
    top_boxes = tf.gather(kept_boxes, top, batch_dims=1)
    present = tf.where(top_scores > float("-inf"))
    return Proposals(
        tf.gather_nd(top_boxes, present),
        tf.gather_nd(top_scores, present),
        tf.cast(present[:, 0], tf.int32),
    )


def _level(
    feature: tf.Tensor, size: float, stride: int, layers: Layers, config: NetworkConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best boxes (batch, k, 4) of one level and their logits (batch, k), padded with -inf."""
    hidden = tf.nn.relu(layers.conv("rpn/conv0", feature))
    batch, height, width = tf.unstack(tf.shape(feature)[:3])
    logits = tf.reshape(layers.conv("rpn/class", hidden), [batch, -1])
    deltas = tf.reshape(layers.conv("rpn/box", hidden), [batch, -1, 4])
    anchors = tf.reshape(boxes.anchors(size, stride, config.anchor_ratios, height, width), [-1, 4])
    k = config.proposals
    scores, top = tf.math.top_k(logits, tf.minimum(k, tf.shape(logits)[1]))
    decoded = boxes.decode(
        tf.gather(deltas, top, batch_dims=1), tf.gather(anchors, top), config.delta_clip
    )
    missing = k - tf.shape(scores)[1]
    return (
        tf.pad(decoded, [[0, 0], [0, missing], [0, 0]]),
        tf.pad(scores, [[0, 0], [0, missing]], constant_values=float("-inf")),
    )


def _suppress(
    candidates: tf.Tensor, scores: tf.Tensor, config: NetworkConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Non-maximum suppression of (k, 4) `candidates`; what is dropped scores -inf."""
    k = config.proposals
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes.swap_xy(candidates),
        scores=scores,
        max_output_size=k,
        iou_threshold=config.proposal_nms_threshold,
        score_threshold=float("-inf"),
        pad_to_max_output_size=True,
    )
    present = tf.range(k) < count
    return (
        tf.gather(candidates, kept),
        tf.where(present, tf.gather(scores, kept), float("-inf")),
    )
