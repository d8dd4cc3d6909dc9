"""Label Studio's tasks with predictions: brushes, or polygons."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import count

import numpy as np

from maskrcnn_handlers.formats.writing import Instance, as_json, instances
from maskrcnn_handlers.outlines import Ring, parts, without_holes
from maskrcnn_server.formats import Prediction
from maskrcnn_server.rle import RLE, Size

FROM, TO = "label", "image"
"""The names of the control and of the picture in the labelling configuration."""

LENGTH_BITS = np.array([3, 4, 8, 16])
"""Sizes of run lengths that a brush's code may choose from."""

Region = tuple[str, dict[str, object]]
"""A type of label, and its value."""


class _Tasks(ABC):
    """A task to import: `data.image` is the image's name, `predictions` what was found in it.

    The labelling configuration must call the picture `image` and the labels `label`, and have the
    label names of the model. Boxes without masks become rectangles.
    """

    media_type = "application/json"

    def render(self, prediction: Prediction, /) -> bytes:
        size = height, width = prediction.detections.size
        result = []
        for number, instance in enumerate(instances(prediction), start=1):
            box = instance.mask is None
            regions = iter([_rectangle(instance, size)]) if box else self.regions(instance, size)
            for part, (kind, value) in zip(count(1), regions):
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

    @abstractmethod
    def regions(self, instance: Instance, size: Size) -> Iterator[Region]:
        """What an instance with a mask becomes."""


class LabelStudioBrush(_Tasks):
    """Each instance is a brush: its mask, exactly."""

    name = "labelstudio-brush"

    def regions(self, instance: Instance, size: Size) -> Iterator[Region]:  # noqa: ARG002
        if instance.mask is not None:
            yield "brushlabels", {"format": "rle", "rle": brush(instance.mask)}


class LabelStudioPolygons(_Tasks):
    """Each part of an instance is a polygon, in percent; holes are reached by a cut."""

    name = "labelstudio-polygons"

    def regions(self, instance: Instance, size: Size) -> Iterator[Region]:
        for part in parts(instance.mask) if instance.mask is not None else ():
            yield "polygonlabels", {"points": _percent(without_holes(part), size), "closed": True}


def brush(mask: RLE) -> list[int]:
    """The bytes of Label Studio's code for a mask in rows: four channels of 8 bits for each pixel.

    Source: rle-pack (https://github.com/thi-ng/umbrella). 32 bits for the number of words, 5 for
    the bits of a word less 1, four times 4 for the bits of lengths less 1; then of each run a 1,
    which of those four, its length less 1, and the word.
    """
    lengths = 4 * mask.counts
    pieces = -(-lengths // (1 << 16))  # a longer run is written in several
    words = np.repeat(np.arange(len(lengths)) % 2 * 255, pieces)
    cut = np.full(len(words), 1 << 16)
    last = np.cumsum(pieces) - 1
    cut[last[pieces > 0]] = (lengths - (pieces - 1) * (1 << 16))[pieces > 0]
    choice = np.searchsorted(1 << LENGTH_BITS, cut)
    header = f"{4 * mask.size[0] * mask.size[1]:032b}{7:05b}"
    header += "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    runs = (
        f"1{which:02b}{length - 1:0{LENGTH_BITS[which]}b}{word:08b}"
        for which, length, word in zip(choice, cut.tolist(), words.tolist(), strict=True)
    )
    bits = "".join([header, *runs]).encode()
    packed: list[int] = np.packbits(np.frombuffer(bits, np.uint8) - ord("0")).tolist()
    return packed


def _rectangle(instance: Instance, size: Size) -> Region:
    corners = instance.box.reshape(2, 2).astype(np.float64)
    (x1, y1), (x2, y2) = _percent(corners, size)
    place = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    return "rectanglelabels", {**place, "rotation": 0}


def _percent(points: Ring, size: Size) -> list[list[float]]:
    height, width = size
    shares: list[list[float]] = (100 * points / (width, height)).round(5).tolist()
    return shares
