"""Interface of response formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, ModelMetadata
    from maskrcnn_server.detections import Detections

Encoding: TypeAlias = Literal["rows", "columns", "compressed"]
"""Encoding of run lengths: numbers row by row, numbers column by column, or COCO's text for the
latter."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Detections in one image, ready to be written in a response format."""

    image_id: str | int
    """The client's name for the image: hostile text, never a path."""
    image: Image
    detections: Detections
    model: ModelMetadata
    rle: Encoding | None = None
    """Encoding of run lengths for formats that write them. None: the format's own."""


class Format(Protocol):
    """A response format: writes a prediction as bytes."""

    @property
    def name(self) -> str:
        """Value of a request's `format` that selects it: lower-case letters, digits, - and _."""

    @property
    def media_type(self) -> str:
        """Content type of the response, without parameters."""

    def render(self, prediction: Prediction, /) -> bytes:
        """Body of the response."""


@runtime_checkable
class WritesRuns(Protocol):
    """Optional ability of a format: to write run lengths in several encodings."""

    @property
    def encodings(self) -> Sequence[Encoding]:
        """Encodings that it writes, its own first."""


@runtime_checkable
class NeedsPixels(Protocol):
    """Optional property of a format: whether it draws on the image."""

    @property
    def needs_pixels(self) -> bool: ...
