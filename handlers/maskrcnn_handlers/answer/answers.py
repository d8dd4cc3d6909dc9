"""What a client makes of an answer in the notebooks' format."""

from collections.abc import Sequence

import numpy as np

from maskrcnn_handlers.formats.sagemaker import Annotation
from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import RLE, Size


def detections(annotations: Sequence[Annotation], size: Size) -> Detections:
    """What was found in a picture of this size, from the annotations alone."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    runs = [a["segmentation"]["counts"] for a in annotations if "segmentation" in a]
    masks = tuple(RLE(np.array(counts, np.int64), size, "rows") for counts in runs)
    return Detections(
        size=size,
        boxes=boxes,
        scores=np.array([a["score"] for a in annotations], np.float32),
        category_ids=np.array([a["category_id"] for a in annotations], np.int64),
        masks=RunLengthMasks(masks, size) if len(masks) == len(annotations) else None,
    )


def categories(annotations: Sequence[Annotation]) -> tuple[Category, ...]:
    """The categories that occur."""
    names = {a["category_id"]: a["category_name"] for a in annotations}
    return tuple(Category(i, name, i) for i, name in sorted(names.items()))
