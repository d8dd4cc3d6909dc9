"""What the frameworks compute each in their own way, as numbers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How RoIAlign (He et al. 2017) looks at a region."""

    samples: int
    """In each direction of a bin; 0: as many as it has places."""
    half_pixel: bool = True
    """False: there is no half-pixel shift, and a region is one place wide and high at least."""
    shift: float = 0.0
    """Of regions, in places of the feature map."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """From anchors to regions, and from regions to what the heads see of them."""

    candidates: int
    """The best of each feature map, before suppression."""
    kept: int
    """Of each feature map, after it."""
    proposals: int
    """Of all feature maps together."""
    together: bool = False
    """Whether overlaps are suppressed in all feature maps at once."""
    sigmoid: Literal["before", "after"] | None = None
    """Whether anchors are ranked by sigmoid, from the start or once candidates are chosen."""
    delta_clip: float
    """Of proposals, as `NetworkConfig.delta_clip` is of detections."""
    least_sides: tuple[float, ...] = ()
    """Of each feature map, or of all: proposals with a shorter side are dropped."""
    sampling: Sampling
    level_epsilon: float = 0.0
    """Added to root area / 224 before its logarithm."""
    octave_epsilon: float = 0.0
    """Added after it."""
    fitted_anchors: bool = False
    """Whether anchors are rounded, and as far apart as the image has whole pixels for each."""
