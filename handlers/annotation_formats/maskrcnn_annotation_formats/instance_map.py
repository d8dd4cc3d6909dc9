"""One image in which each pixel holds the number of its instance."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngInfo

from maskrcnn_annotation_formats.drawing import colour
from maskrcnn_handlers.formats import writing
from maskrcnn_handlers.formats.writing import as_json, instances
from maskrcnn_server.errors import RequestError

if TYPE_CHECKING:
    from maskrcnn_server.formats import Prediction

TABLE = "instances"
"""Key of the PNG text that lists the instances."""


class InstanceMap:
    """A PNG: 0 is the background, i the i-th instance, best first; where instances overlap, the
    better one wins.

    Up to 255 instances: 8 bits with a palette; more: 16 bits of gray. The PNG text `instances` is a
    JSON list of the instances, from 1.
    """

    name = "instance-map"
    media_type = "image/png"

    def render(self, prediction: Prediction, /) -> bytes:
        found = instances(prediction)
        if prediction.detections.masks is None:
            raise RequestError("format instance-map: there are no masks to write")
        few = len(found) < 256
        numbers = np.zeros(prediction.detections.size, np.uint8 if few else np.uint16)
        for number, instance in reversed(list(enumerate(found, start=1))):
            if instance.mask is not None:
                y, x, bitmap = instance.mask.window()
                height, width = bitmap.shape
                numbers[y : y + height, x : x + width][bitmap] = number
        picture = PIL.Image.fromarray(numbers)
        if few:
            picture.putpalette([0, 0, 0, *(c for i in range(len(found)) for c in colour(i))])
        table = [
            {
                "category_id": category.id,
                "category_name": category.name,
                "score": score,
                "bbox": writing.bbox(box),
            }
            for box, category, score, _ in found
        ]
        text = PngInfo()
        text.add_itxt(TABLE, as_json(table).decode(), zip=True)
        file = io.BytesIO()
        picture.save(file, "PNG", pnginfo=text)
        return file.getvalue()
