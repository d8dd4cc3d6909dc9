"""labelme's annotation files."""

from maskrcnn_annotation_formats.outlines import parts, without_holes
from maskrcnn_handlers.formats.writing import Instance, as_json, file_name, instances
from maskrcnn_server.formats import Prediction

VERSION = "5.5.0"
"""Of labelme, whose form of the file this is; later ones read it."""


class Labelme:
    """What labelme keeps beside a picture: polygons, those of one instance in a group.

    Its polygons have no holes: they are reached by a cut. labelme fills polygons with Pillow, which
    draws their line too; hence they run through pixels.
    """

    name = "labelme"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        height, width = prediction.detections.size
        shapes: list[dict[str, object]] = []
        for group, instance in enumerate(instances(prediction), start=1):
            outlines = _outlines(instance)
            shapes += [
                {
                    "label": instance.category.name,
                    "points": points,
                    "group_id": group if len(outlines) > 1 else None,
                    "description": "",
                    "shape_type": "rectangle" if instance.mask is None else "polygon",
                    "flags": {},
                    "mask": None,
                    "score": instance.score,
                }
                for points in outlines
            ]
        return as_json(
            {
                "version": VERSION,
                "flags": {},
                "shapes": shapes,
                "imagePath": file_name(prediction.image_id),
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
        )


def _outlines(instance: Instance) -> list[list[list[float]]]:
    if instance.mask is None:
        x1, y1, x2, y2 = (round(v, 4) for v in instance.box.tolist())
        return [[[x1, y1], [x2, y2]]]
    rings = [without_holes(part).tolist() for part in parts(instance.mask, "through")]
    return [_three(ring) for ring in rings]


def _three(ring: list[list[float]]) -> list[list[float]]:
    """At least three points: labelme has no polygon of fewer."""
    return ring + ring[-1:] * (3 - len(ring))
