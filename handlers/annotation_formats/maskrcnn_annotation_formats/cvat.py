"""Results of an automatic annotation function for CVAT."""

from maskrcnn_annotation_formats.outlines import parts, without_holes
from maskrcnn_handlers.formats.writing import Instance, as_json, instances
from maskrcnn_server.formats import Prediction
from maskrcnn_server.rle import RLE


class Cvat:
    """A list of shapes.

    `mask` holds the pixels of the instance, 0 or 1, row by row, in the smallest box around them,
    followed by that box: x1, y1, x2, y2 of its first and last pixels. `points` is the outline of
    the largest part, which CVAT uses where polygons are wanted.
    """

    name = "cvat"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        shapes = (_shape(instance) for instance in instances(prediction))
        return as_json([shape for shape in shapes if shape is not None])


def _shape(instance: Instance) -> dict[str, object] | None:
    """Shape of an instance. None for an empty mask, which CVAT does not have."""
    shape: dict[str, object] = {
        "confidence": str(round(instance.score, 4)),
        "label": instance.category.name,
    }
    if instance.mask is None:
        points = [round(v, 4) for v in instance.box.tolist()]
        return shape | {"type": "rectangle", "points": points}
    if not instance.mask.area:
        return None
    return shape | {
        "type": "mask",
        "points": _outline(instance.mask),
        "mask": _pixels(instance.mask),
    }


def _outline(mask: RLE) -> list[float]:
    rings = [without_holes(part) for part in parts(mask)]
    extents = [(ring.max(0) - ring.min(0)).prod() for ring in rings]
    outline: list[float] = rings[extents.index(max(extents))].ravel().tolist()
    return outline


def _pixels(mask: RLE) -> list[int]:
    y, x, bitmap = mask.window()
    height, width = bitmap.shape
    pixels: list[int] = bitmap.astype(int).ravel().tolist()
    return [*pixels, x, y, x + width - 1, y + height - 1]
