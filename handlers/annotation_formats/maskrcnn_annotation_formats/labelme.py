"""labelme's annotation files."""

from maskrcnn_annotation_formats.outlines import parts, without_holes
from maskrcnn_annotation_formats.reading import file_name
from maskrcnn_handlers.formats.writing import Instance, as_json, instances
from maskrcnn_server.formats import Prediction

VERSION = "5.5.0"
"""Version of labelme with this file format; later versions read it."""


class Labelme:
    """The annotation file next to an image: polygons, those of one instance in a group.

    The polygons have no holes: a cut leads to each hole. labelme fills polygons with Pillow, which
    draws the outline too; therefore they run through pixels.
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
    return [_padded(ring) for ring in rings]


def _padded(ring: list[list[float]]) -> list[list[float]]:
    """A ring of at least three points: labelme has no smaller polygon."""
    return ring + ring[-1:] * (3 - len(ring))
