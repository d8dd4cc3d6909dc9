"""The format of the SageMaker notebooks: what their helper functions decode and draw."""

import json
from typing import TypedDict

from typing_extensions import NotRequired

from maskrcnn_handlers.coco import truncated_bbox
from maskrcnn_server.detections import Proposals
from maskrcnn_server.formats import Prediction
from maskrcnn_server.rle import RLE


class Segmentation(TypedDict):
    """Row-wise run lengths, beginning with a run of 0s; `size` is height, width."""

    counts: list[int]
    size: list[int]


class Annotation(TypedDict):
    """One instance. `category_id` is the network's class index, from 1: not COCO's id."""

    bbox: list[int]
    category_id: int
    category_name: str
    score: float
    segmentation: NotRequired[Segmentation]


class SageMaker:
    """`{"img_id": ..., "annotations": [...]}`; row-wise runs, integer boxes, class indices."""

    name = "sagemaker"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        found = prediction.detections
        names = {category.id: category.name for category in prediction.model.categories}
        masks = [None] * len(found) if found.masks is None else found.masks.rle("rows")
        annotations = [
            _annotation(
                truncated_bbox(box), int(category), names[int(category)], float(score), mask
            )
            for box, category, score, mask in zip(
                found.boxes, found.category_ids, found.scores, masks, strict=True
            )
        ]
        answer: dict[str, object] = {"img_id": prediction.image_id, "annotations": annotations}
        if found.proposals is not None:
            answer |= _proposals(found.proposals)
        return json.dumps(answer, separators=(",", ":")).encode()


def _annotation(
    bbox: list[int], category: int, name: str, score: float, mask: RLE | None
) -> Annotation:
    annotation = Annotation(bbox=bbox, category_id=category, category_name=name, score=score)
    if mask is not None:
        annotation["segmentation"] = {"counts": mask.counts.tolist(), "size": list(mask.size)}
    return annotation


def _proposals(proposals: Proposals) -> dict[str, object]:
    """What `rpn` adds: boxes x1, y1, x2, y2, their scores, and their scores in each class."""
    return {
        "rpn_boxes": proposals.boxes.tolist(),
        "rpn_scores": proposals.scores.tolist(),
        "all_scores": proposals.class_scores.tolist(),
    }
