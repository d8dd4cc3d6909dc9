"""Functions that the formats share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from maskrcnn_server.categories import Category
    from maskrcnn_server.formats import Encoding, Prediction
    from maskrcnn_server.rle import RLE, Order


ORDERS: Mapping[Encoding, Order] = {"rows": "rows", "columns": "columns", "compressed": "columns"}
"""Pixel order of each encoding."""


class Segmentation(TypedDict):
    """Run lengths, or COCO's text for them; `size` is [height, width]."""

    counts: str | list[int]
    size: list[int]


class Instance(NamedTuple):
    """One detected instance."""

    box: NDArray[np.float32]
    """Box x1, y1, x2, y2."""
    category: Category
    score: float
    mask: RLE | None
    """Mask; None: boxes only."""


def instances(prediction: Prediction, order: Order = "rows") -> list[Instance]:
    """Detected instances, best first, with masks in this order."""
    found = prediction.detections
    categories = {category.id: category for category in prediction.model.categories}
    masks: Sequence[RLE | None] = [None] * len(found)
    if found.masks is not None:
        masks = found.masks.rle(order)
    return [
        Instance(box, categories[int(category)], float(score), mask)
        for box, category, score, mask in zip(
            found.boxes, found.category_ids, found.scores, masks, strict=True
        )
    ]


def segmentation(mask: RLE, encoding: Encoding) -> Segmentation:
    """A mask, whose order is the encoding's, as the formats with run lengths write it."""
    counts = mask.compressed() if encoding == "compressed" else mask.counts.tolist()
    return {"counts": counts, "size": list(mask.size)}


def as_json(content: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":")).encode()
