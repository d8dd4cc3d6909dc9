"""Predictions as they are, for codecs that write a whole reply from all of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from maskrcnn_handlers.answer.reply import Reply
    from maskrcnn_server.backend import ModelMetadata
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.formats import Prediction


class Found(NamedTuple):
    """A prediction without its pixels, which may leave memory."""

    detections: Detections
    model: ModelMetadata


class Collected:
    """A format of one request, whose images are called 0, 1, 2, ...: keeps their predictions.

    What it writes is empty: the codec writes the reply.
    """

    name = "collected"
    media_type = "application/json"

    def __init__(self) -> None:
        self._by_image: dict[str | int, Found] = {}

    def render(self, prediction: Prediction, /) -> bytes:
        self._by_image[prediction.image_id] = Found(prediction.detections, prediction.model)
        return b"{}"

    def found(self, number: int) -> Found | None:
        """The prediction of an image. None: there is none."""
        return self._by_image.get(number)

    def predictions(self) -> list[Found]:
        """The predictions of the images, in the order of the request."""
        return [self._by_image[number] for number in range(len(self._by_image))]


def error_of(reply: Reply) -> tuple[int, str] | None:
    """Status and message of a reply that is an error, or has one for any of its images.

    None: every image has a prediction.
    """
    if reply.code:
        return max(reply.status, 400), str(json.loads(reply.body)["error"]["message"])
    entries: list[Any] = json.loads(reply.body).get("predictions", [])
    for number, entry in enumerate(entries):
        if "error" in entry:
            return 400, f"image {number}: {entry['error']['message']}"
    return None
