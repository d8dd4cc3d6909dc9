"""Boxes: absolute x1, y1, x2, y2 in float32, whatever their leading dimensions."""

import numpy as np

from maskrcnn_tensorflow.onnx_graph.net import FLOAT, Net, Value, number


def decode(net: Net, deltas: Value, anchors: Value, clip: float) -> Value:
    """Apply regression `deltas` (..., 4: dx, dy, dw, dh) to `anchors` (..., 4).

    dw and dh are clipped from above at `clip` (a natural logarithm) before the exponential.
    """
    low, high = net.part(anchors, 0, 2), net.part(anchors, 2, 4)
    extent = net("Sub", high, low)
    centre = net("Mul", net("Add", low, high), number(0.5))
    growth = net("Exp", net("Min", net.part(deltas, 2, 4), number(clip)))
    half = net("Mul", net("Mul", growth, extent), number(0.5))
    moved = net("Add", net("Mul", net.part(deltas, 0, 2), extent), centre)
    return net("Concat", net("Sub", moved, half), net("Add", moved, half), axis=-1)


def clip_to(net: Net, boxes: Value, sizes: Value) -> Value:
    """Clip `boxes` (..., 4) to images of `sizes` (..., 2: height, width) int64, which broadcast."""
    width_height = net("Gather", net("Cast", sizes, to=FLOAT), np.array([1, 0, 1, 0]), axis=-1)
    return net("Min", net("Max", boxes, number(0)), width_height)


def least_side(net: Net, boxes: Value) -> Value:
    """The shorter side (...) of `boxes` (..., 4)."""
    extent = net("Sub", net.part(boxes, 2, 4), net.part(boxes, 0, 2))
    return net("ReduceMin", extent, axes=[-1], keepdims=0)
