"""The region proposal network (Ren et al. 2015), from feature maps to proposals."""

from typing import NamedTuple

import numpy as np

from maskrcnn_tensorflow.cells import cell_anchors
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.onnx_graph import boxes
from maskrcnn_tensorflow.onnx_graph.body import Body
from maskrcnn_tensorflow.onnx_graph.net import FLOAT, Net, Value, ints, number
from maskrcnn_tensorflow.onnx_graph.rules import Rules

DROPPED = np.array(-np.inf, np.float32)
"""The score of what is no candidate any more."""
LOWEST = number(float(np.finfo(np.float32).min))
"""Scores above this are of candidates."""


class Proposals(NamedTuple):
    """The proposals of a batch, image after image, best first within each."""

    boxes: Value
    """(P, 4) float32, network coordinates."""
    scores: Value
    """(P,) float32."""
    images: Value
    """(P,) int64: index of the image in the batch."""
    places: Value
    """(P, 2) int64: image, and rank in it."""
    shape: Value
    """(2,) int64: images, and the most proposals that one may have."""


class _Pool(NamedTuple):
    logits: Value
    """(batch, anchors)."""
    deltas: Value
    """(batch, anchors, 4)."""
    anchors: Value
    """(anchors, 4)."""


def propose(
    net: Net,
    body: Body,
    features: list[Value],
    images: Value,
    sizes: Value,
    config: NetworkConfig,
    rules: Rules,
) -> Proposals:
    """Proposals of images (batch, 3, h, w), of int64 `sizes` (batch, 2) without padding."""
    pools = [
        _pool(net, feature, cell, stride, images, config, rules)
        for feature, (cell, stride) in zip(features, body.anchors, strict=True)
    ]
    if rules.together and len(pools) > 1:
        logits, deltas, anchors = zip(*pools, strict=True)
        pools = [
            _Pool(
                net("Concat", *logits, axis=1),
                net("Concat", *deltas, axis=1),
                net("Concat", *anchors, axis=0),
            )
        ]
    found = [_candidates(net, pool, rules) for pool in pools]
    pool_boxes = net("Concat", *(b for b, _ in found), axis=1)
    scores = net("Concat", *(s for _, s in found), axis=1)
    pool_boxes = boxes.clip_to(net, pool_boxes, net("Unsqueeze", sizes, ints(1, 2)))
    if rules.sigmoid == "after":
        present = net("Greater", scores, LOWEST)
        scores = net("Where", present, _sigmoid(net, scores), DROPPED)
    if rules.least_sides:
        least = np.array(rules.least_sides, np.float32)[:, None]
        large = net("GreaterOrEqual", boxes.least_side(net, pool_boxes), least)
        scores = net("Where", large, scores, DROPPED)
    return _best(net, pool_boxes, scores, len(pools), rules, config)


def _pool(
    net: Net,
    feature: Value,
    cell: tuple[float, ...],
    stride: int,
    images: Value,
    config: NetworkConfig,
    rules: Rules,
) -> _Pool:
    hidden = feature
    for name in net.numbered("rpn/conv"):
        hidden = net.relu(net.conv(name, hidden))
    logits, deltas = (
        net("Transpose", net.conv(f"rpn/{kind}", hidden), perm=[0, 2, 3, 1])
        for kind in ("class", "box")
    )
    return _Pool(
        net("Reshape", logits, ints(0, -1)),
        net("Reshape", deltas, ints(0, -1, 4)),
        _anchors(net, logits, cell, stride, images, config, rules),
    )


def _anchors(
    net: Net,
    logits: Value,
    cell: tuple[float, ...],
    stride: int,
    images: Value,
    config: NetworkConfig,
    rules: Rules,
) -> Value:
    """Those (anchors, 4) of logits (batch, h, w, ratios); the first cell is at (0, 0)."""
    shape = cell_anchors(cell, config.anchor_ratios)
    if rules.fitted_anchors:
        shape = np.round(shape)
    places = []
    # Not of the feature map: if something takes its shape, OpenVINO 2026.4 adds, where it makes
    # integers of it, the bias of the first channel to all.
    height, width = (net.size(logits, axis) for axis in (1, 2))
    for axis, length in ((3, width), (2, height)):
        step = net("Div", net.size(images, axis), length) if rules.fitted_anchors else ints(stride)
        count = net("Squeeze", length, ints(0))
        index = net("Range", np.array(0), count, np.array(1))
        places.append(net("Cast", net("Mul", index, step), to=FLOAT))
    xs, ys = places
    ones = net("Concat", height, width, axis=0)
    grid_x = net("Expand", xs, ones)
    grid_y = net("Expand", net("Unsqueeze", ys, ints(1)), ones)
    grid = [net("Unsqueeze", g, ints(2)) for g in (grid_x, grid_y, grid_x, grid_y)]
    shifts = net("Unsqueeze", net("Concat", *grid, axis=2), ints(2))
    return net("Reshape", net("Add", shifts, shape.astype(np.float32)), ints(-1, 4))


def _candidates(net: Net, pool: _Pool, rules: Rules) -> tuple[Value, Value]:
    """The best boxes (batch, 1, k, 4) and scores (batch, 1, k); the earlier anchor wins a tie."""
    ranked = _sigmoid(net, pool.logits) if rules.sigmoid == "before" else pool.logits
    count = net("Min", ints(rules.candidates), net.size(ranked, 1))
    scores, top = net.several("TopK", ranked, count, outputs=2, axis=1)
    place = net("Unsqueeze", top, ints(2))
    deltas = net("GatherND", pool.deltas, place, batch_dims=1)
    decoded = boxes.decode(net, deltas, net("Gather", pool.anchors, top), rules.delta_clip)
    missing = net("Sub", ints(rules.candidates), count)
    padded_boxes = net("Pad", decoded, net("Concat", ints(0, 0, 0, 0), missing, ints(0), axis=0))
    padded_scores = net("Pad", scores, net("Concat", ints(0, 0, 0), missing, axis=0), DROPPED)
    return net("Unsqueeze", padded_boxes, ints(1)), net("Unsqueeze", padded_scores, ints(1))


def _sigmoid(net: Net, logits: Value) -> Value:
    """1 / (1 + exp(-x)), which is 1 from 17 on: engines' own approximations tie elsewhere."""
    return net("Div", number(1), net("Add", number(1), net("Exp", net("Neg", logits))))


def _best(
    net: Net, pool_boxes: Value, scores: Value, pools: int, rules: Rules, config: NetworkConfig
) -> Proposals:
    """Suppress overlaps within each pool of each image, and keep the best of all pools."""
    flat = net("Reshape", pool_boxes, ints(-1, rules.candidates, 4))
    flat_scores = net("Reshape", scores, ints(-1, rules.candidates))
    chosen = net(
        "NonMaxSuppression",
        flat,
        net("Unsqueeze", flat_scores, ints(1)),
        ints(rules.kept),
        number(config.proposal_nms_threshold),
        LOWEST,
    )
    places = net("Gather", chosen, ints(0, 2), axis=1)
    dropped = net("Expand", DROPPED, net("Shape", flat_scores))
    kept = net("ScatterND", dropped, places, net("GatherND", flat_scores, places))
    by_image = net("Reshape", kept, ints(-1, pools * rules.candidates))
    most = min(rules.proposals, pools * rules.candidates, pools * rules.kept)
    top_scores, top = net.several("TopK", by_image, ints(most), outputs=2, axis=1)
    image_boxes = net("Reshape", pool_boxes, ints(-1, pools * rules.candidates, 4))
    top_boxes = net("GatherND", image_boxes, net("Unsqueeze", top, ints(2)), batch_dims=1)
    present = net("Transpose", net("NonZero", net("Greater", top_scores, LOWEST)), perm=[1, 0])
    return Proposals(
        net("GatherND", top_boxes, present),
        net("GatherND", top_scores, present),
        net("Squeeze", net.part(present, 0, 1), ints(1)),
        present,
        net("Shape", top_scores),
    )
