"""Polygons with parts and holes, for drawing and measuring."""

from maskrcnn_annotation_formats.outlines import parts
from maskrcnn_handlers.formats import writing
from maskrcnn_handlers.formats.writing import Instance, as_json, instances
from maskrcnn_server.formats import Prediction


class Polygons:
    """`{"img_id": ..., "size": [...], "annotations": [...]}`, each with a list of polygons.

    Rings are lists of x, y, not closed. The pixel centres that they enclose are exactly the mask.
    """

    name = "polygons"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        annotations = [_annotation(instance) for instance in instances(prediction)]
        return as_json(
            {
                "img_id": prediction.image_id,
                "size": list(prediction.detections.size),
                "annotations": annotations,
            }
        )


def _annotation(instance: Instance) -> dict[str, object]:
    annotation: dict[str, object] = {
        "bbox": writing.bbox(instance.box),
        "category_id": instance.category.id,
        "category_name": instance.category.name,
        "score": instance.score,
    }
    if instance.mask is not None:
        annotation["area"] = instance.mask.area
        annotation["polygons"] = [
            {"exterior": part.exterior.tolist(), "holes": [hole.tolist() for hole in part.holes]}
            for part in parts(instance.mask)
        ]
    return annotation
