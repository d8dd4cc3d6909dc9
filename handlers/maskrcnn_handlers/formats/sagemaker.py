"""Response format of the SageMaker notebooks, whose helper functions decode and draw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from typing_extensions import NotRequired

from maskrcnn_handlers.formats.writing import (
    ORDERS,
    as_json,
    instances,
    segmentations,
    truncated_bbox,
)

if TYPE_CHECKING:
    from maskrcnn_handlers.formats.writing import Segmentation
    from maskrcnn_server.detections import Proposals
    from maskrcnn_server.formats import Encoding, Prediction


class Annotation(TypedDict):
    """One instance.

    `category_id` is the network's class index, from 1: not COCO's id.
    """

    bbox: list[int]
    category_id: int
    category_name: str
    score: float
    segmentation: NotRequired[Segmentation]


class SageMaker:
    """`{"img_id": ..., "annotations": [...]}`; row-wise runs, integer boxes, class indices."""

    name = "sagemaker"
    media_type = "application/json"
    encodings: Sequence[Encoding] = ("rows", "columns", "compressed")

    def render(self, prediction: Prediction, /) -> bytes:
        encoding = prediction.rle or self.encodings[0]
        found = instances(prediction, ORDERS[encoding])
        written = segmentations(found, encoding)
        annotations = []
        for i, (box, category, score, mask) in enumerate(found):
            annotation: Annotation = {
                "bbox": truncated_bbox(box),
                "category_id": category.id,
                "category_name": category.name,
                "score": score,
            }
            if mask is not None:
                annotation["segmentation"] = written[i]
            annotations.append(annotation)
        answer: dict[str, object] = {"img_id": prediction.image_id, "annotations": annotations}
        if prediction.detections.proposals is not None:
            answer |= _proposals(prediction.detections.proposals)
        return as_json(answer)


def _proposals(proposals: Proposals) -> dict[str, object]:
    """Fields that `rpn` adds: boxes x1, y1, x2, y2, their scores, and scores in each class."""
    return {
        "rpn_boxes": proposals.boxes.tolist(),
        "rpn_scores": proposals.scores.tolist(),
        "all_scores": proposals.class_scores.tolist(),
    }
