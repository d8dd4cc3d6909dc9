"""What a response format is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.detections import Detections

Encoding: TypeAlias = Literal["rows", "columns", "compressed"]
"""Of run lengths: numbers row by row, numbers column by column, or COCO's text for the latter."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request's answer before it is written: what was asked about, and what was found."""

    image_id: str | int
    """As the client named the image; hostile text, never a path."""
    image: Image
    detections: Detections
    model: ModelMetadata
    rle: Encoding | None = None
    """How run lengths are wanted, of formats that write them. None: as the format does."""


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


@runtime_checkable
class WritesRuns(Protocol):
    """What a format may do beside: write run lengths in more ways than one."""

    @property
    def encodings(self) -> Sequence[Encoding]:
        """Those it writes, its own first."""


@runtime_checkable
class NeedsPixels(Protocol):
    """What a format may say beside: that it draws on the picture."""

    @property
    def needs_pixels(self) -> bool: ...
