"""COCO's results format: what pycocotools' `loadRes` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from typing_extensions import NotRequired

from maskrcnn_handlers.formats import writing
from maskrcnn_handlers.formats.writing import ORDERS, as_json, instances, segmentations

if TYPE_CHECKING:
    from maskrcnn_handlers.formats.writing import Segmentation
    from maskrcnn_server.formats import Encoding, Prediction


class CocoResult(TypedDict):
    """An entry of COCO's results; `category_id` is the data set's.

    `bbox` is x, y, width, height in pixels, `score` is 0 to 1, and `area` counts the mask's pixels,
    or is the box's area where there is no mask.
    """

    image_id: int | str
    category_id: int
    category_name: str
    bbox: list[float]
    score: float
    area: float
    segmentation: NotRequired[Segmentation]


class CocoResults:
    """A list of results: data set category ids, float boxes, scores, column-wise run lengths.

    Source: https://cocodataset.org/#format-results. `image_id` is the number in the image's name,
    where it is one; `area` is the mask's pixels, or the box's area where there is no mask;
    `category_name` is for clients that have no list of the data set's categories.
    """

    name = "coco"
    media_type = "application/json"
    encodings: Sequence[Encoding] = ("compressed", "columns")

    def render(self, prediction: Prediction, /) -> bytes:
        return as_json(coco_results(prediction))


def coco_results(prediction: Prediction) -> list[CocoResult]:
    """The entries for one image."""
    encoding = prediction.rle or CocoResults.encodings[0]
    image_id = writing.image_id(prediction.image_id)
    found = instances(prediction, ORDERS[encoding])
    written = segmentations(found, encoding)
    results = []
    for i, (box, category, score, mask) in enumerate(found):
        bbox = writing.bbox(box)
        result: CocoResult = {
            "image_id": image_id,
            "category_id": category.dataset_id,
            "category_name": category.name,
            "bbox": bbox,
            "score": score,
            "area": bbox[2] * bbox[3] if mask is None else mask.area,
        }
        if mask is not None:
            result["segmentation"] = written[i]
        results.append(result)
    return results
