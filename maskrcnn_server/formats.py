"""What a response format is."""

from dataclasses import dataclass
from typing import Protocol

from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.detections import Detections


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request's answer before it is written: what was asked about, and what was found."""

    image_id: str | int
    """As the client named the image; hostile text, never a path."""
    image: Image
    detections: Detections
    model: ModelMetadata


class Format(Protocol):
    """A way to write a prediction."""

    @property
    def name(self) -> str:
        """What a request's `format` selects it by: lower-case letters, digits, - and _."""

    @property
    def media_type(self) -> str:
        """The response's content type, without parameters."""

    def render(self, prediction: Prediction, /) -> bytes:
        """The response's body."""
