"""The region proposal network (Ren et al. 2015).

The frameworks rank, clip and filter its boxes each in their own way, from the parts that are here.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph.cells import cell_anchors
from maskrcnn_tensorflow import boxes
from maskrcnn_tensorflow.body import AnchorMap
from maskrcnn_tensorflow.layers import Layers

DROPPED = float("-inf")
"""The score of what is no candidate any more."""


class RawBoxes(NamedTuple):
    """What the network says of every anchor of a pool, such as a feature map."""

    logits: tf.Tensor
    """(batch, anchors) float32."""
    deltas: tf.Tensor
    """(batch, anchors, 4) float32."""
    anchors: tf.Tensor
    """(anchors, 4) float32, network coordinates."""


class Candidates(NamedTuple):
    """The best boxes of each pool of each image."""

    boxes: tf.Tensor
    """(batch, pools, k, 4) float32, network coordinates, not clipped."""
    scores: tf.Tensor
    """(batch, pools, k) float32, descending; `DROPPED` where a pool has fewer than k boxes."""


class Proposals(NamedTuple):
    """The proposals of a batch, image after image, best first within each."""

    boxes: tf.Tensor
    """(P, 4) float32, network coordinates."""
    scores: tf.Tensor
    """(P,) float32."""
    images: tf.Tensor
    """(P,) int32: index of the image in the batch."""


Anchors: TypeAlias = Callable[[AnchorMap, tuple[float, ...], tf.Tensor, tf.Tensor], tf.Tensor]
"""`anchors(cell, ratios, grid, image)`: those of a feature map of size `grid` (2,) of images of
padded size `image` (2,), shaped (height, width, anchors of a cell, 4)."""


def even_anchors(
    cell: AnchorMap, ratios: tuple[float, ...], grid: tf.Tensor, _image: tf.Tensor
) -> tf.Tensor:
    """Anchors at the map's stride, not rounded, as TensorPack's `get_all_anchors` makes them."""
    return boxes.spread(cell_anchors(cell.sizes, ratios), grid, [cell.stride, cell.stride])


def raw_boxes(
    features: list[tf.Tensor],
    cells: list[AnchorMap],
    image: tf.Tensor,
    anchors: Anchors,
    layers: Layers,
    config: NetworkConfig,
) -> list[RawBoxes]:
    """What the network says of the anchors of each feature map of images of padded size `image`."""
    pools = []
    for feature, cell in zip(features, cells, strict=True):
        hidden = feature
        for name in layers.numbered("rpn/conv"):
            hidden = tf.nn.relu(layers.conv(name, hidden))
        batch = tf.shape(feature)[0]
        of_map = anchors(cell, config.anchor_ratios, tf.shape(feature)[1:3], image)
        pools.append(
            RawBoxes(
                tf.reshape(_float32(layers.conv("rpn/class", hidden)), [batch, -1]),
                tf.reshape(_float32(layers.conv("rpn/box", hidden)), [batch, -1, 4]),
                tf.reshape(of_map, [-1, 4]),
            )
        )
    return pools


def _float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)


def joined(pools: list[RawBoxes]) -> RawBoxes:
    """All pools as one."""
    logits, deltas, anchors = zip(*pools, strict=True)
    return RawBoxes(tf.concat(logits, 1), tf.concat(deltas, 1), tf.concat(anchors, 0))


def candidates(
    pools: list[RawBoxes],
    *,
    count: int,
    delta_clip: float,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Candidates:
    """The `count` best boxes of each pool by `activation(logit)`; the earlier anchor wins a tie.

    dw and dh are clipped at `delta_clip`.
    """
    pool_boxes, pool_scores = [], []
    for logits, deltas, anchors in pools:
        ranked = activation(logits)
        scores, top = tf.math.top_k(ranked, tf.minimum(count, tf.shape(ranked)[1]))
        best_deltas = tf.gather(deltas, top, batch_dims=1)
        decoded = boxes.decode(best_deltas, tf.gather(anchors, top), delta_clip)
        missing = count - tf.shape(scores)[1]
        pool_boxes.append(tf.pad(decoded, [[0, 0], [0, missing], [0, 0]]))
        pool_scores.append(tf.pad(scores, [[0, 0], [0, missing]], constant_values=DROPPED))
    return Candidates(tf.stack(pool_boxes, axis=1), tf.stack(pool_scores, axis=1))


def without_small(found: Candidates, least: tf.Tensor) -> Candidates:
    """Drop boxes with a side shorter than their pool's `least` (pools,), in network pixels."""
    side = tf.reduce_min(found.boxes[..., 2:] - found.boxes[..., :2], axis=-1)
    return found._replace(scores=tf.where(side >= least[:, None], found.scores, DROPPED))


def best(found: Candidates, keep: int, keep_in_all: int, iou_threshold: float) -> Proposals:
    """Suppress overlaps within each pool, of which `keep` boxes stay at most, and `keep_in_all` of
    all pools of an image."""
    batch, _, count = tf.unstack(tf.shape(found.scores))
    # One suppression for each image and pool, all in one map: its iterations run in parallel.
    kept_boxes, kept_scores = tf.map_fn(
        lambda pool: _suppress(pool[0], pool[1], keep, iou_threshold),
        (tf.reshape(found.boxes, [-1, count, 4]), tf.reshape(found.scores, [-1, count])),
        fn_output_signature=(tf.float32, tf.float32),
        parallel_iterations=16,
    )
    kept_boxes = tf.reshape(kept_boxes, [batch, -1, 4])
    kept_scores = tf.reshape(kept_scores, [batch, -1])
    available = tf.minimum(keep_in_all, tf.shape(kept_scores)[1])
    top_scores, top = tf.math.top_k(kept_scores, available)
    present = tf.where(top_scores > DROPPED)
    return Proposals(
        tf.gather_nd(tf.gather(kept_boxes, top, batch_dims=1), present),
        tf.gather_nd(top_scores, present),
        tf.cast(present[:, 0], tf.int32),
    )


def _suppress(
    pool_boxes: tf.Tensor, scores: tf.Tensor, keep: int, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Non-maximum suppression of one pool: `keep` boxes and scores, padded."""
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes.swap_xy(pool_boxes),
        scores=scores,
        max_output_size=keep,
        iou_threshold=iou_threshold,
        score_threshold=DROPPED,
        pad_to_max_output_size=True,
    )
    present = tf.range(keep) < count
    return tf.gather(pool_boxes, kept), tf.where(present, tf.gather(scores, kept), DROPPED)
