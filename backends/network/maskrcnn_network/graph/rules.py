"""What the frameworks compute each in their own way, as numbers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How RoIAlign (He et al. 2017) looks at a region."""

    samples: int
    """Samples in each direction of a bin. 0: one for each pixel that the bin covers, rounded up."""
    half_pixel: bool = True
    """Whether pixel (0, 0) is centred on (0.5, 0.5) of the map. If not, a region is one pixel wide
    and high at least."""
    shift: float = 0.0
    """Offset of regions, in pixels of the feature map."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """From anchors to regions, and from regions to what the heads see of them."""

    candidates: int
    """Number of the best boxes of each feature map that go into suppression."""
    kept: int
    """Number of boxes of each feature map that stay at most."""
    proposals: int
    """Number of boxes of all feature maps together that stay at most."""
    together: bool = False
    """Whether overlaps are suppressed in all feature maps at once."""
    sigmoid: Literal["before", "after"] | None = None
    """Whether anchors are ranked by sigmoid, from the start or once candidates are chosen."""
    delta_clip: float
    """Largest dw and dh of a proposal's regression (natural logarithm)."""
    least_sides: tuple[float, ...] = ()
    """Length of the shortest side that a proposal may have, for each feature map or for all."""
    sampling: Sampling
    level_epsilon: float = 0.0
    """Number that is added to root area / 224 before its logarithm."""
    octave_epsilon: float = 0.0
    """Number that is added after it."""
    fitted_anchors: bool = False
    """Whether anchors are rounded, and as far apart as the image has whole pixels for each."""
