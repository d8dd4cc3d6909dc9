"""The region proposal network (Ren et al. 2015), from feature maps to proposals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph import boxes
from maskrcnn_network.graph.body import Body, Cell
from maskrcnn_network.graph.cells import cell_anchors
from maskrcnn_network.graph.operations import DROPPED, LOWEST, Map, Operations, Slots, Tensor
from maskrcnn_network.graph.rules import Rules


class Proposals(NamedTuple):
    """The proposals of a batch, image after image, best first within each."""

    boxes: Tensor
    """(P, 4) float32, network coordinates."""
    scores: Tensor
    """(P,) float32."""
    slots: Slots


class _Pool(NamedTuple):
    """The network's output for anchors that compete with one another."""

    logits: Tensor
    """(batch, anchors)."""
    deltas: Tensor
    """(batch, anchors, 4)."""
    anchors: Tensor
    """(anchors, 4)."""


def propose(
    ops: Operations,
    body: Body,
    features: list[Map],
    images: Map,
    sizes: Tensor,
    config: NetworkConfig,
    rules: Rules,
) -> Proposals:
    """Proposals in images of float32 `sizes` (batch, 2: height, width) without padding."""
    pools = [
        _pool(ops, feature, cell, images, config, rules)
        for feature, cell in zip(features, body.cells, strict=True)
    ]
    if rules.together and len(pools) > 1:
        logits, deltas, anchors = zip(*pools, strict=True)
        joined = ops.concat(logits, 1), ops.concat(deltas, 1), ops.concat(anchors, 0)
        pools = [_Pool(*joined)]
    pool_boxes, scores = _candidates(ops, pools, rules)
    limits = rules.frame.proposal_limits(ops, sizes).each(lambda x: x[:, None, None])
    pool_boxes = boxes.clip_to(ops, pool_boxes, limits)
    if rules.sigmoid == "after":
        scores = ops.where(scores >= LOWEST, ops.sigmoid(scores), DROPPED)
    if rules.score_floor:
        scores = ops.where(scores >= rules.score_floor, scores, DROPPED)
    if rules.min_sides:
        minimum = ops.constant(np.array(rules.min_sides, np.float32)[:, None])
        large = boxes.shorter_side(ops, pool_boxes) >= minimum
        scores = ops.where(large, scores, DROPPED)
    return _best(ops, pool_boxes, scores, len(pools), rules, config)


def _pool(
    ops: Operations, feature: Map, cell: Cell, images: Map, config: NetworkConfig, rules: Rules
) -> _Pool:
    hidden = feature
    for name in ops.numbered("rpn/conv"):
        hidden = ops.conv(name, hidden, relu=True)
    logits, deltas = ops.conv_each(("rpn/class", "rpn/box"), hidden)
    return _Pool(
        ops.reshape(ops.cells(logits, 1), (0, -1)),
        ops.cells(deltas, 4),
        # From the logits, not the feature map: if anything reads the map's shape and the map is
        # quantized, OpenVINO 2026.4 adds the first channel's bias to all channels.
        _anchors(ops, logits, cell, images, config, rules),
    )


def _anchors(
    ops: Operations, logits: Map, cell: Cell, images: Map, config: NetworkConfig, rules: Rules
) -> Tensor:
    """The anchors (pixels * anchors, 4) of a map; those of its first pixel are around (0, 0)."""
    shapes = cell_anchors(cell.sizes, config.height_ratios, by_ratio=rules.anchors_by_ratio)
    stride: int | None = cell.stride
    if rules.fitted_anchors:
        shapes, stride = np.round(shapes), None
    return rules.frame.anchors(ops, logits, shapes, stride, images)


def _candidates(ops: Operations, pools: Sequence[_Pool], rules: Rules) -> tuple[Tensor, Tensor]:
    """The best boxes (batch, pools, k, 4) of each pool, before clipping, and their scores."""
    before = rules.sigmoid == "before"
    ranked = [ops.sigmoid(pool.logits) if before else pool.logits for pool in pools]
    best = ops.top_each(ranked, rules.candidates)
    scores = ops.concat([scores[:, None] for scores, _ in best], 1)
    chosen = [(pool, places) for pool, (_, places) in zip(pools, best, strict=True)]
    deltas = ops.concat([ops.take(pool.deltas, places)[:, None] for pool, places in chosen], 1)
    anchors = ops.concat([ops.gather(pool.anchors, places)[:, None] for pool, places in chosen], 1)
    if rules.regression_weights != (1, 1, 1, 1):
        deltas = deltas / ops.constant(np.array(rules.regression_weights, np.float32))
    return rules.frame.decode(ops, deltas, anchors, rules.delta_clip), scores


def _best(
    ops: Operations,
    pool_boxes: Tensor,
    scores: Tensor,
    pools: int,
    rules: Rules,
    config: NetworkConfig,
) -> Proposals:
    """Suppress overlaps within each pool of each image, and keep the best of all pools."""
    each, total = rules.candidates, pools * rules.candidates
    kept = ops.suppress_ranked(
        ops.reshape(pool_boxes, (-1, each, 4)),
        ops.reshape(scores, (-1, each)),
        rules.kept,
        config.proposal_nms_threshold,
    )
    count = rules.proposals if rules.filled else min(rules.proposals, total, pools * rules.kept)
    best, places = ops.top(ops.reshape(kept, (-1, total)), count)
    best_boxes = ops.take(ops.reshape(pool_boxes, (-1, total, 4)), places)
    if rules.filled:
        best_boxes = ops.where(best[..., None] >= LOWEST, best_boxes, 0.0)
        best = ops.maximum(best, 0.0)
    slots, (found_scores, found_boxes) = ops.compact(best, best_boxes)
    return Proposals(found_boxes, found_scores, slots)
