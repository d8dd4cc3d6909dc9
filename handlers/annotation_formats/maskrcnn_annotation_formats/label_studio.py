"""Label Studio's tasks with predictions: brushes, or polygons.

A task is what Label Studio imports: `data.image` is the image's name, `predictions` what was found
in it. The labelling configuration calls the picture `image` and the labels `label`, and has the
names of the model's classes. Boxes without masks become rectangles.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_annotation_formats.outlines import parts, without_holes
from maskrcnn_handlers.formats.writing import as_json, instances
from maskrcnn_server.formats import Prediction
from maskrcnn_server.rle import RLE, Size

FROM, TO = "label", "image"
"""Names of the control and of the image in the labelling configuration."""

LENGTH_BITS = (3, 4, 8, 16)
"""Numbers of bits from which the lengths in a brush's code may choose."""
MAX_LENGTHS = [1 << bits for bits in LENGTH_BITS]

Region: TypeAlias = tuple[str, dict[str, object]]
"""Type of a label, and its value."""


class LabelStudioBrush:
    """Each instance is a brush with its exact mask."""

    name = "labelstudio-brush"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        return _task(prediction, brushes)


class LabelStudioPolygons:
    """Each part of an instance is a polygon, in percent; a cut leads to each hole."""

    name = "labelstudio-polygons"
    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        return _task(prediction, polygons)


def brush(mask: RLE) -> list[int]:
    """The bytes of Label Studio's code for a mask in rows: four channels of 8 bits for each pixel.

    Source: rle-pack (https://github.com/thi-ng/umbrella). 32 bits for the number of words, 5 for
    the bits of a word less 1, four times 4 for the bits of lengths less 1; then of each run a 1,
    which of those four, its length less 1, and the word.
    """
    bits = [f"{4 * mask.size[0] * mask.size[1]:032b}{8 - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in LENGTH_BITS]
    for i, run in enumerate((4 * mask.counts).tolist()):
        for begin in range(0, run, MAX_LENGTHS[-1]):
            length = min(run - begin, MAX_LENGTHS[-1])
            which = bisect_left(MAX_LENGTHS, length)
            bits.append(f"1{which:02b}{length - 1:0{LENGTH_BITS[which]}b}{i % 2 * 255:08b}")
    digits = np.frombuffer("".join(bits).encode(), np.uint8)
    packed: list[int] = np.packbits(digits - ord("0")).tolist()
    return packed


def _task(prediction: Prediction, regions: Callable[[RLE], Iterable[Region]]) -> bytes:
    size = height, width = prediction.detections.size
    result = []
    for number, instance in enumerate(instances(prediction), start=1):
        boxes = [rectangle(instance.box, size)]
        found = boxes if instance.mask is None else regions(instance.mask)
        for part, (kind, value) in enumerate(found, start=1):
            result.append(
                {
                    "id": f"{number}-{part}",
                    "type": kind,
                    "from_name": FROM,
                    "to_name": TO,
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "score": instance.score,
                    "value": value | {kind: [instance.category.name]},
                }
            )
    scores = prediction.detections.scores
    predicted = {
        "model_version": prediction.model.name,
        "score": float(scores.mean()) if len(scores) else 0.0,
        "result": result,
    }
    return as_json({"data": {TO: str(prediction.image_id)}, "predictions": [predicted]})


def brushes(mask: RLE) -> Iterable[Region]:
    """The one brush of a mask."""
    yield "brushlabels", {"format": "rle", "rle": brush(mask)}


def polygons(mask: RLE) -> Iterable[Region]:
    """A polygon for each part of a mask."""
    for part in parts(mask):
        points = _percent(without_holes(part), mask.size)
        yield "polygonlabels", {"points": points, "closed": True}


def rectangle(box: NDArray[np.float32], size: Size) -> Region:
    """The rectangle of a box."""
    (x1, y1), (x2, y2) = _percent(box.reshape(2, 2).astype(np.float64), size)
    place = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    return "rectanglelabels", {**place, "rotation": 0}


def _percent(points: NDArray[np.float64], size: Size) -> list[list[float]]:
    height, width = size
    shares: list[list[float]] = (100 * points / (width, height)).round(5).tolist()
    return shares
