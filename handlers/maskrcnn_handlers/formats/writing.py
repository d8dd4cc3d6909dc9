"""Functions that the formats share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.rle import compressed

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


def segmentations(found: Sequence[Instance], encoding: Encoding) -> list[Segmentation]:
    """Masks, whose order is the encoding's, as the formats with run lengths write them. Empty if
    there are none."""
    masks = [one.mask for one in found if one.mask is not None]
    texts: Sequence[str | list[int]] = (
        compressed(masks) if encoding == "compressed" else [mask.counts.tolist() for mask in masks]
    )
    return [
        {"counts": text, "size": list(mask.size)} for mask, text in zip(masks, texts, strict=True)
    ]


def bbox(box: NDArray[np.float32]) -> list[float]:
    """x, y, width, height of a box x1, y1, x2, y2; pixels to four decimals."""
    x1, y1, x2, y2 = box.tolist()
    return [round(v, 4) for v in (x1, y1, x2 - x1, y2 - y1)]


def truncated_bbox(box: NDArray[np.float32]) -> list[int]:
    """x, y, width, height truncated to integers, as the containers before this server computed
    them."""
    x1, y1, x2, y2 = box.tolist()
    return [int(x1), int(y1), int(x2 - x1), int(y2 - y1)]


def image_id(name: str | int) -> str | int:
    """COCO's image id: the number in names such as `000000000139.jpg`, else the name itself."""
    stem = PurePosixPath(str(name)).stem
    return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= 18 else name


def as_json(content: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(content, separators=(",", ":")).encode()
