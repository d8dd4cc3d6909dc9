"""Boxes: x1, y1, x2, y2 in float32, whatever their leading dimensions."""

from maskrcnn_network.graph.frames import Limits
from maskrcnn_network.graph.operations import Operations, Tensor


def clip_to(ops: Operations, boxes: Tensor, limits: Limits) -> Tensor:
    """Clip `boxes` (..., 4) to limits of their shape."""
    return ops.minimum(ops.maximum(boxes, limits.low), limits.high)


def shorter_side(ops: Operations, boxes: Tensor) -> Tensor:
    """The shorter side (...) of `boxes` (..., 4)."""
    return ops.least(boxes[..., 2:4] - boxes[..., 0:2])
