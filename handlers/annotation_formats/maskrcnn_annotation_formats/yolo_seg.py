"""Labels for training YOLO segmentation models."""

from functools import reduce

from maskrcnn_annotation_formats.outlines import joined, parts, without_holes
from maskrcnn_handlers.formats.writing import Instance, instances
from maskrcnn_server.formats import Prediction
from maskrcnn_server.rle import Size


class YoloSeg:
    """A line for each instance: the class from 0, and its outline as shares of width and height.

    A line holds one ring: parts are joined, and holes reached, by a way there and back, as
    ultralytics' own converter does. It fills them with OpenCV, which draws the line too; hence
    they run through pixels. Without masks a line is a box: centre, width and height.
    """

    name = "yolo-seg"
    media_type = "text/plain"

    def render(self, prediction: Prediction, /) -> bytes:
        size = prediction.detections.size
        lines = []
        for instance in instances(prediction):
            shares = _shares(instance, size)
            if shares:
                numbers = " ".join(f"{share:.6f}" for share in shares)
                lines.append(f"{instance.category.id - 1} {numbers}\n")
        return "".join(lines).encode()


def _shares(instance: Instance, size: Size) -> list[float]:
    height, width = size
    if instance.mask is None:
        x1, y1, x2, y2 = instance.box.tolist()
        return [
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        ]
    rings = [without_holes(part) for part in parts(instance.mask, "through")]
    if not rings:
        return []
    ring = reduce(joined, rings)
    shares: list[float] = (ring / (width, height)).ravel().tolist()
    return shares + shares[-2:] * (3 - len(ring))
