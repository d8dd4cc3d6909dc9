"""The heads: class and refined box of a region (Girshick 2015), and its mask (He et al. 2017)."""

import numpy as np

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph import boxes
from maskrcnn_network.graph.body import Body
from maskrcnn_network.graph.operations import Map, Operations, Regions, Tensor
from maskrcnn_network.graph.rpn import Proposals
from maskrcnn_network.graph.rules import Rules


def classify(
    ops: Operations,
    body: Body,
    features: list[Map],
    proposals: Proposals,
    sizes: Tensor,
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,
) -> tuple[Tensor, Tensor]:
    """Class probabilities (P, 1 + classes), and boxes (P, 1 + classes, 4) or (P, 1, 4).

    Each box head refines the boxes of the previous one; their probabilities or logits are averaged.
    Most networks have one head; Cascade R-CNN (Cai and Vasconcelos 2018) has three.
    """
    images = proposals.slots.images
    limits = rules.frame.detection_limits(ops, sizes, features)
    limits = limits.each(lambda x: ops.gather(x, images)[:, None])
    seen: Tensor = proposals.boxes
    total: Tensor = None
    for (head, outputs), weights in zip(
        architecture.heads, config.regression_weights, strict=False
    ):
        regions = body.regions(ops, features, seen, images, body.box_resolution)
        hidden = ops.in_order(regions, _hidden(ops, regions, head))
        logits, deltas = ops.dense_each((f"{outputs}/class", f"{outputs}/box"), hidden)
        logits, deltas = ops.to_float(logits), ops.to_float(deltas)
        scores = ops.softmax(logits) if rules.averaged == "probabilities" else logits
        count = ops.layers[f"{outputs}/box"].kernel.shape[1] // 4
        deltas = ops.reshape(deltas, (-1, count, 4)) / ops.constant(np.array(weights, np.float32))
        class_boxes = rules.frame.decode(ops, deltas, seen[:, None], config.delta_clip)
        class_boxes = boxes.clip_to(ops, class_boxes, limits)
        total = scores if total is None else total + scores
        seen = ops.reshape(class_boxes[:, 0:1], (-1, 4))
    average = total / float(len(architecture.heads))
    return average if rules.averaged == "probabilities" else ops.softmax(average), class_boxes


def _hidden(ops: Operations, regions: Regions, head: str) -> Tensor:
    """Features (R, units) of regions in a box head.

    Convolutions, if any, each with its ReLU before its norm; then fully connected layers `fc6` and
    `fc7`, or `fc`, or without any the mean over all places (C4, whose last ResNet group has done
    the work).
    """
    x = _convs(ops, regions.maps, head, "conv")
    names = [name for name in (f"{head}/fc6", f"{head}/fc7", f"{head}/fc") if name in ops]
    if not names:
        return ops.spatial_mean(x)
    x = ops.flatten(x)
    for name in names:
        x = ops.dense(name, x, relu=True)
    return x


def masks(
    ops: Operations,
    body: Body,
    features: list[Map],
    found_boxes: Tensor,
    labels: Tensor,
    images: Tensor,
    architecture: Architecture,
) -> Tensor:
    """Mask probabilities float32 (D, 2m, 2m) in boxes (D, 4), each for its own label (D,).

    Those of several mask heads are averaged.
    """
    if architecture.shared_masks:
        labels = labels * 0 + 1  # one mask for all classes
    regions = body.regions(ops, features, found_boxes, images, body.mask_resolution)
    total: Tensor = None
    for head in architecture.mask_heads:
        x = _convs(ops, regions.maps, head, "fcn")
        logits = ops.mask_logits(head, regions._replace(maps=x), labels, body.mask_side)
        soft = ops.sigmoid(logits)
        total = soft if total is None else total + soft
    count = len(architecture.mask_heads)
    return total if count == 1 else total / float(count)


def _convs(ops: Operations, x: Map, head: str, kind: str) -> Map:
    """The 3 x 3 convolutions that a head begins with, if any."""
    for i, name in enumerate(ops.numbered(f"{head}/{kind}")):
        x = ops.norm(f"{head}/gn{i}", ops.conv(name, x, relu=True))
    return x
