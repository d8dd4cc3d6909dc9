"""COCO's results format: what pycocotools' `loadRes` reads."""

import json

from maskrcnn_handlers import coco
from maskrcnn_server.formats import Prediction


class CocoResults:
    """A list of results: data set category ids, float boxes, scores, compressed column-wise RLE.

    Source: https://cocodataset.org/#format-results. `image_id` is the number in the image's name,
    where it is one; `area` is the mask's pixels, or the box's area where there is no mask;
    `category_name` is for clients that have no list of the data set's categories.
    """

    name = "coco"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        found = prediction.detections
        categories = {category.id: category for category in prediction.model.categories}
        masks = [None] * len(found) if found.masks is None else found.masks.rle("columns")
        image_id = coco.image_id(prediction.image_id)
        results = []
        for box, category, score, mask in zip(
            found.boxes, found.category_ids, found.scores, masks, strict=True
        ):
            bbox = coco.bbox(box)
            result: dict[str, object] = {
                "image_id": image_id,
                "category_id": categories[int(category)].dataset_id,
                "category_name": categories[int(category)].name,
                "bbox": bbox,
                "score": float(score),
                "area": bbox[2] * bbox[3] if mask is None else mask.area,
            }
            if mask is not None:
                result["segmentation"] = {"counts": mask.compressed(), "size": list(mask.size)}
            results.append(result)
        return json.dumps(results, separators=(",", ":")).encode()
