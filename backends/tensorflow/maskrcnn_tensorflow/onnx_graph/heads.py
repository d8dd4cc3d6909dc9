"""What is in a region: its class and refined box, its mask."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_tensorflow.architecture import Architecture
from maskrcnn_tensorflow.config import NetworkConfig
from maskrcnn_tensorflow.folding import Weights
from maskrcnn_tensorflow.onnx_graph import boxes
from maskrcnn_tensorflow.onnx_graph.body import Body
from maskrcnn_tensorflow.onnx_graph.net import Input, Net, Value, ints, number
from maskrcnn_tensorflow.onnx_graph.rpn import DROPPED, LOWEST, Proposals


class Found(NamedTuple):
    """The detections of a batch, image after image, best first within each."""

    boxes: Value
    """(D, 4) float32, network coordinates."""
    scores: Value
    """(D,) float32."""
    labels: Value
    """(D,) int64, from 1."""
    images: Value
    """(D,) int64."""


def classify(
    net: Net,
    body: Body,
    features: list[Value],
    proposals: Proposals,
    sizes: Value,
    architecture: Architecture,
    config: NetworkConfig,
) -> tuple[Value, Value]:
    """Class probabilities (P, 1 + classes), and boxes (P, 1 + classes, 4) or (P, 1, 4).

    Each box head works on the boxes of the one before; their probabilities are averaged.
    """
    region_sizes = net("Unsqueeze", net("Gather", sizes, proposals.images), ints(1))
    regions, probabilities = proposals.boxes, []
    for (head, outputs), weights in zip(
        architecture.heads, config.regression_weights, strict=False
    ):
        seen = body.regions(features, regions, proposals.images, body.box_resolution)
        hidden = seen.sorted(net, _hidden(net, seen.pooled, head))
        logits = net.dense(f"{outputs}/class", hidden)
        deltas = net("Reshape", net.dense(f"{outputs}/box", hidden), _boxes_of_each(net, outputs))
        deltas = net("Div", deltas, np.array(weights, np.float32))
        anchors = net("Unsqueeze", regions, ints(1))
        class_boxes = boxes.decode(net, deltas, anchors, config.delta_clip)
        class_boxes = boxes.clip_to(net, class_boxes, region_sizes)
        probabilities.append(net("Softmax", logits, axis=1))
        regions = net("Squeeze", net.part(class_boxes, 0, 1, axis=1), ints(1))
    total = net("Sum", *probabilities)
    return net("Div", total, number(len(probabilities))), class_boxes


def _boxes_of_each(net: Net, outputs: str) -> NDArray[np.int64]:
    return ints(-1, net[f"{outputs}/box"].kernel.shape[1] // 4, 4)


def _hidden(net: Net, pooled: Value, head: str) -> Value:
    x = _convs(net, pooled, head, "conv")
    names = [name for name in (f"{head}/fc6", f"{head}/fc7", f"{head}/fc") if name in net]
    if not names:
        return net("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = net("Flatten", x, axis=1)
    for name in names:
        x = net.relu(net.dense(name, x))
    return x


def select(
    net: Net,
    probabilities: Value,
    class_boxes: Value,
    proposals: Proposals,
    score_threshold: Value,
    limit: Value,
    architecture: Architecture,
    config: NetworkConfig,
) -> Found:
    """The best `limit` detections that score `score_threshold` or more, suppressed in each class.

    Classes are kept apart by shifting each one's boxes by class * (largest coordinate + 1), as
    TensorPack's `fastrcnn_predictions` does: float32 rounds a shifted box, and so its overlaps.
    Boxes and scores are laid out class after class, so that order settles ties as it does there.
    """
    classes = architecture.classes
    scores = net.part(probabilities, 1, classes + 1, axis=1)
    if not architecture.cascade:
        class_boxes = net.part(class_boxes, 1, classes + 1, axis=1)
    scores = _by_class(net, scores, proposals, DROPPED, ints(classes))
    own = 1 if architecture.cascade else classes
    by_class = _by_class(net, class_boxes, proposals, number(0), ints(own, 4))
    ranks = net.part(proposals.shape, 1, 2, axis=0)
    if architecture.cascade:
        shape = net("Concat", ints(1, classes), ranks, ints(4), axis=0)
        by_class = net("Expand", by_class, shape)
    enough = net("GreaterOrEqual", scores, score_threshold)
    if config.least_side:
        large = net("GreaterOrEqual", boxes.least_side(net, by_class), number(config.least_side))
        enough = net("And", enough, large)
    scores = net("Where", enough, scores, DROPPED)
    largest = net("Add", net("ReduceMax", by_class, axes=[1, 2, 3], keepdims=1), number(1))
    category = np.arange(classes, dtype=np.float32).reshape(1, classes, 1, 1)
    shifted = net("Add", by_class, net("Mul", largest, category))
    flat_scores = net("Reshape", scores, ints(0, -1))
    chosen = net(
        "NonMaxSuppression",
        net("Reshape", shifted, ints(0, -1, 4)),
        net("Unsqueeze", flat_scores, ints(1)),
        limit,
        number(config.detection_nms_threshold),
        LOWEST,
    )
    images = net("Squeeze", net.part(chosen, 0, 1), ints(1))
    index = net("Squeeze", net.part(chosen, 2, 3), ints(1))
    place = net("Gather", chosen, ints(0, 2), axis=1)
    return Found(
        net("GatherND", net("Reshape", by_class, ints(0, -1, 4)), place),
        net("GatherND", flat_scores, place),
        net("Add", net("Div", index, ranks), ints(1)),
        images,
    )


def _by_class(
    net: Net, values: Value, proposals: Proposals, missing: Input, shape: NDArray[np.int64]
) -> Value:
    """`values` (P, classes, ...) as (batch, classes, R, ...): what an image lacks is `missing`."""
    full = net("Concat", proposals.shape, shape, axis=0)
    laid = net("ScatterND", net("Expand", missing, full), proposals.places, values)
    return net("Transpose", laid, perm=[0, 2, 1, 3][: 2 + len(shape)])


def masks(net: Net, body: Body, features: list[Value], found: Found, wanted: Value) -> Value:
    """Mask probabilities (D, 2m, 2m), each for its own label; of none unless `wanted` (1,) is 1.

    Of the last layer only the label's output channel is computed: class k is channel k - 1.
    """
    count = net("Mul", net.size(found.scores, 0), wanted)
    own_boxes, images, labels = (
        net("Slice", x, ints(0), count, ints(0)) for x in (found.boxes, found.images, found.labels)
    )
    seen = body.regions(features, own_boxes, images, body.mask_resolution)
    x = _convs(net, seen.pooled, "maskrcnn", "fcn")
    x = net.relu(net.convolved("maskrcnn/deconv", x, _quarters(net["maskrcnn/deconv"])))
    kernel, bias = net["maskrcnn/conv"]
    side, width = body.mask_side, kernel.shape[2]
    channel = net("Sub", seen.shuffled(net, labels), ints(1))
    own_kernel = net("Gather", kernel[0, 0].T.reshape(-1, 1, 1, width), channel)
    own_bias = net("Gather", bias.reshape(-1, 1, 1, 1), channel)
    quarters = net("Reshape", x, ints(-1, 4, width, side * side))
    logits = net("Add", net("MatMul", own_kernel, quarters), own_bias)
    by_place = net("Reshape", net("Sigmoid", logits), ints(-1, 2, 2, side, side))
    woven = net("Transpose", by_place, perm=[0, 3, 1, 4, 2])
    probabilities = net("Reshape", woven, ints(-1, 2 * side, 2 * side))
    return seen.sorted(net, probabilities)


def _convs(net: Net, x: Value, head: str, kind: str) -> Value:
    """The 3 x 3 convolutions that a head begins with, as many as it has."""
    for i, name in enumerate(net.numbered(f"{head}/{kind}")):
        x = net.norm(f"{head}/gn{i}", net.relu(net.conv(name, x)))
    return x


def _quarters(deconv: Weights) -> Weights:
    """A transposed convolution, 2 x 2 with stride 2, as one of 1 x 1: the four places that each
    pixel turns into, row by row, are neighbouring channels."""
    kernel, bias = deconv
    flat = kernel.reshape(-1, kernel.shape[3]).T
    return Weights(flat[None, None], np.tile(bias, 4))
