"""From the classes and boxes of proposals to detections."""

from typing import NamedTuple

import numpy as np

from maskrcnn_network.architecture import Architecture
from maskrcnn_network.config import NetworkConfig
from maskrcnn_network.graph import boxes
from maskrcnn_network.graph.operations import DROPPED, Operations, Tensor
from maskrcnn_network.graph.rpn import Proposals
from maskrcnn_network.graph.rules import Rules


class Detected(NamedTuple):
    """The detections of a batch, image after image, best first within each."""

    boxes: Tensor
    """(D, 4) float32, network coordinates."""
    scores: Tensor
    """(D,) float32."""
    labels: Tensor
    """(D,) int64, from 1."""
    images: Tensor
    """(D,) int64: index of the image in the batch."""


def select(
    ops: Operations,
    probabilities: Tensor,
    class_boxes: Tensor,
    proposals: Proposals,
    score_threshold: Tensor,
    limit: int | Tensor,
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,
) -> Detected:
    """The best `limit` detections that score `score_threshold` or more, suppressed in each class.

    From the results of `heads.classify` for the proposals.
    """
    kind = _of_best_class if rules.best_class_only else _of_every_class
    return kind(
        ops,
        probabilities,
        class_boxes,
        proposals,
        score_threshold,
        limit,
        architecture,
        config,
        rules,
    )


def _of_every_class(
    ops: Operations,
    probabilities: Tensor,
    class_boxes: Tensor,
    proposals: Proposals,
    score_threshold: Tensor,
    limit: int | Tensor,
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,  # noqa: ARG001 (others need them)
) -> Detected:
    """Each class of a proposal may be a detection.

    Classes are kept apart by shifting each one's boxes by class * (largest coordinate + 1), as in
    TensorPack's `fastrcnn_predictions`: float32 rounds a shifted box, and thereby its overlaps.
    Boxes and scores are ordered class by class, so that ties are settled as in TensorPack. With a
    threshold for any classes, the best of all are then compared without shifts, as in
    deepdoctection's `nms_post_processing`.
    """
    classes, slots = architecture.classes, proposals.slots
    scores = ops.spread(probabilities[:, 1 : classes + 1], slots, DROPPED)
    scores = ops.transpose(scores, (0, 2, 1))
    if not architecture.shared_boxes:
        class_boxes = class_boxes[:, 1 : classes + 1]
    by_class = ops.transpose(ops.spread(class_boxes, slots, 0.0), (0, 2, 1, 3))
    if config.min_detection_side:
        large = boxes.shorter_side(ops, by_class) >= config.min_detection_side
        scores = ops.where(large, scores, DROPPED)
    scores = ops.where(scores >= score_threshold, scores, DROPPED)
    category = np.arange(classes, dtype=np.float32).reshape(1, classes, 1, 1)
    shifted = by_class + (ops.largest(by_class) + 1.0) * ops.constant(category)
    by_class = by_class + ops.constant(
        np.zeros_like(category)
    )  # repeats a box shared by all classes
    flat_boxes, flat_scores = ops.reshape(shifted, (0, -1, 4)), ops.reshape(scores, (0, -1))
    agnostic = config.agnostic_nms_threshold
    keep = limit if agnostic is None else config.detections
    best, places = ops.survivors(flat_boxes, flat_scores, keep, config.detection_nms_threshold)
    best_boxes = ops.take(ops.reshape(by_class, (0, -1, 4)), places)
    labels = places // slots.width + 1
    if agnostic is not None:
        best, places = ops.survivors(best_boxes, best, limit, agnostic)
        best_boxes, labels = ops.take(best_boxes, places), ops.take(labels, places)
    found, (found_scores, found_boxes, labels) = ops.compact(best, best_boxes, labels)
    return Detected(found_boxes, found_scores, labels, found.images)


def _of_best_class(
    ops: Operations,
    probabilities: Tensor,
    class_boxes: Tensor,
    proposals: Proposals,
    score_threshold: Tensor,
    limit: int | Tensor,
    architecture: Architecture,
    config: NetworkConfig,
    rules: Rules,
) -> Detected:
    """A proposal is a detection of its most probable class, unless that is the background.

    Of equal scores, that of the better proposal comes first.
    Source: Matterport's Mask_RCNN, mrcnn/model.py, `refine_detections_graph`.
    """
    classes, slots = architecture.classes, proposals.slots
    best = (0.0 - ops.least(0.0 - probabilities))[:, None]
    best = ops.where(probabilities[:, 0:1] >= best, best + 1.0, best)
    own = ops.where(probabilities >= best, probabilities, DROPPED)
    scores = ops.spread(own[:, 1 : classes + 1], slots, DROPPED)
    scores = ops.where(scores >= score_threshold, scores, DROPPED)
    found_boxes = ops.spread(class_boxes[:, 1 : classes + 1], slots, 0.0)
    by_class = ops.transpose(found_boxes, (0, 2, 1, 3)), ops.transpose(scores, (0, 2, 1))
    kept = ops.suppress(
        ops.reshape(by_class[0], (-1, rules.proposals, 4)),
        ops.reshape(by_class[1], (-1, rules.proposals)),
        limit,
        config.detection_nms_threshold,
    )
    by_proposal = ops.transpose(ops.reshape(kept, (-1, classes, rules.proposals)), (0, 2, 1))
    best, places = ops.top(ops.reshape(by_proposal, (0, -1)), limit)
    best_boxes = ops.take(ops.reshape(found_boxes, (0, -1, 4)), places)
    labels = places - places // classes * classes + 1
    found, (found_scores, found_boxes, labels) = ops.compact(best, best_boxes, labels)
    return Detected(found_boxes, found_scores, labels, found.images)
