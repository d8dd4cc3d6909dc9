"""The image with the detections drawn on it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from maskrcnn_annotation_formats.drawing import overlay

if TYPE_CHECKING:
    from maskrcnn_server.formats import Prediction


class Overlay:
    """The image with masks, boxes and labels, as a PNG."""

    name = "overlay"
    media_type = "image/png"
    needs_pixels = True

    def render(self, prediction: Prediction, /) -> bytes:
        return _drawn(prediction, "PNG")


class OverlayJpeg:
    """The same as a JPEG, a fraction of the size."""

    name = "overlay-jpeg"
    media_type = "image/jpeg"
    needs_pixels = True

    def render(self, prediction: Prediction, /) -> bytes:
        return _drawn(prediction, "JPEG")


def _drawn(prediction: Prediction, form: str) -> bytes:
    found = prediction.detections
    file = io.BytesIO()
    overlay(prediction.image, found, prediction.model.categories).save(file, form, quality=90)
    return file.getvalue()
