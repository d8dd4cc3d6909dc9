"""Boxes: absolute x1, y1, x2, y2 in float32, whatever their leading dimensions."""

from maskrcnn_network.graph.operations import Operations, Tensor


def decode(ops: Operations, deltas: Tensor, anchors: Tensor, clip: float) -> Tensor:
    """Apply regression `deltas` (..., 4: dx, dy, dw, dh) to `anchors` (..., 4).

    dw and dh are clipped from above at `clip` (a natural logarithm) before the exponential.
    Source: Fast R-CNN (Girshick 2015), equation of bounding-box regression.
    """
    low, high = anchors[..., 0:2], anchors[..., 2:4]
    extent = high - low
    centre = (low + high) * 0.5
    half = ops.exp(ops.minimum(deltas[..., 2:4], clip)) * extent * 0.5
    moved = deltas[..., 0:2] * extent + centre
    return ops.concat([moved - half, moved + half], axis=-1)


def clip_to(ops: Operations, boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip `boxes` (..., 4) to images of float32 `sizes` (..., 2: height, width)."""
    height, width = sizes[..., 0:1], sizes[..., 1:2]
    limits = ops.concat([width, height, width, height], axis=-1)
    return ops.minimum(ops.maximum(boxes, 0.0), limits)


def shorter_side(ops: Operations, boxes: Tensor) -> Tensor:
    """The shorter side (...) of `boxes` (..., 4)."""
    return ops.least(boxes[..., 2:4] - boxes[..., 0:2])
