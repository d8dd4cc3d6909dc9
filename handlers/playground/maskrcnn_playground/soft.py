"""Masks before the threshold, for clients such as the playground that apply it themselves."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import NotRequired

from maskrcnn_server.masks import RoiMasks

if TYPE_CHECKING:
    from maskrcnn_handlers.formats.writing import Segmentation
    from maskrcnn_server.formats import Prediction
    from maskrcnn_server.masks import Masks


class SoftMask(TypedDict):
    """`side` x `side` probabilities, row by row over `box` (x1, y1, x2, y2): bytes in base64, of
    which 255 is 1. `maskrcnn_server.masks.RoiMasks` says how they become pixels."""

    box: list[float]
    side: int
    probabilities: str


class Instance(TypedDict):
    """One instance, with a mask of either kind, or none."""

    box: list[float]
    category_id: int
    category_name: str
    score: float
    mask: NotRequired[SoftMask]
    segmentation: NotRequired[Segmentation]
    """Row-wise run lengths, from a model with bitmaps, which have no threshold."""


class Soft:
    """`{"img_id": ..., "size": [height, width], "model": {...}, "instances": [...]}`"""

    name = "soft"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        found, model = prediction.detections, prediction.model
        names = {category.id: category.name for category in model.categories}
        instances = [
            Instance(
                box=box.tolist(),
                category_id=int(category),
                category_name=names[int(category)],
                score=float(score),
            )
            for box, category, score in zip(
                found.boxes, found.category_ids, found.scores, strict=True
            )
        ]
        if found.masks is not None:
            _add(instances, found.masks)
        answer = {
            "img_id": prediction.image_id,
            "size": list(found.size),
            "model": {
                "name": model.name,
                "backend": model.backend,
                "score_threshold": model.score_threshold,
            },
            "instances": instances,
        }
        return json.dumps(answer, separators=(",", ":")).encode()


def _add(instances: list[Instance], masks: Masks) -> None:
    if isinstance(masks, RoiMasks):
        for instance, box, soft in zip(instances, masks.boxes, masks.probabilities, strict=True):
            instance["mask"] = SoftMask(
                box=box.tolist(), side=len(soft), probabilities=_quantised(soft)
            )
        return
    for instance, rle in zip(instances, masks.rle("rows"), strict=True):
        instance["segmentation"] = {"counts": rle.counts.tolist(), "size": list(rle.size)}


def _quantised(probabilities: NDArray[np.float32]) -> str:
    return base64.b64encode(np.rint(255 * probabilities).astype(np.uint8).tobytes()).decode()
