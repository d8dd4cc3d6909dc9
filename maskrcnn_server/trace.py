"""Intermediate results of a model for one image, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, PredictOptions
    from maskrcnn_server.detections import Detections

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Intermediate results for one image. Boxes but `detections` are in pixels of `resized`."""

    resized: NDArray[np.uint8]
    """Input of the network without padding: (height, width, 3), RGB."""
    features: tuple[Floats, ...]
    """Feature maps, each (height, width, channels)."""
    proposals: Floats
    """Proposal boxes (P, 4)."""
    class_scores: Floats
    """Class scores of the proposals (P, 1 + classes), background first."""
    boxes: Floats
    """Boxes of the detections (N, 4), best first."""
    scores: Floats
    """Scores of the detections (N,)."""
    labels: Labels
    """Class indices of the detections (N,), from 1."""
    soft_masks: Floats | None
    """Mask probabilities (N, m, m). None: a model without masks."""
    detections: Detections
    """Final detections, in pixels of the image."""
    min_score: float
    """Score below which detections are dropped."""
    limit: int
    """Maximum number of detections."""
    mask: Callable[[Floats, Labels], Floats] | None = None
    """Function from boxes and labels to mask probabilities in these feature maps. None: not
    available."""


@runtime_checkable
class Traces(Protocol):
    """Optional ability of a model: to show its intermediate results."""

    def trace(self, image: Image, options: PredictOptions, /) -> Trace:
        """Intermediate results of `predict` for `image`."""
