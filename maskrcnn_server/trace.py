"""What a model computes of one image, stage by stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.backend import Image, PredictOptions
from maskrcnn_server.detections import Detections

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a model computes of one image. Boxes are in pixels of `resized` but in `detections`."""

    resized: NDArray[np.uint8]
    """What the network sees, without padding: (height, width, 3), RGB."""
    features: tuple[Floats, ...]
    """Feature maps, each (height, width, channels)."""
    proposals: Floats
    """(P, 4)."""
    class_scores: Floats
    """Of each proposal: (P, 1 + classes), background first."""
    boxes: Floats
    """(N, 4), best first."""
    scores: Floats
    """(N,)."""
    labels: Labels
    """(N,), from 1."""
    soft_masks: Floats | None
    """(N, m, m) probabilities; None from models without masks."""
    detections: Detections
    """The answer, in pixels of the image."""
    least_score: float
    """Below which detections are not kept."""
    limit: int
    """How many detections are kept at most."""
    mask: Callable[[Floats, Labels], Floats] | None = None
    """The soft masks of any boxes and labels in these feature maps; None if that cannot be asked.
    """


@runtime_checkable
class Traces(Protocol):
    """What a model may do beside: show its stages."""

    def trace(self, image: Image, options: PredictOptions, /) -> Trace:
        """What `predict` computes of `image` on its way."""
