"""Rules that differ between frameworks, as numbers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How RoIAlign (He et al. 2017) samples a region."""

    samples: int
    """Number of samples in each direction of a bin. 0: one for each pixel covered, rounded up."""
    half_pixel: bool = True
    """Whether pixel (0, 0) is centred on (0.5, 0.5) of the map. If not, a region is at least one
    pixel wide and high."""
    shift: float = 0.0
    """Offset of regions, in pixels of the feature map."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How anchors become regions, and regions the input of the heads."""

    candidates: int
    """Number of best boxes of each feature map that enter suppression."""
    kept: int
    """Maximum number of boxes of each feature map after suppression."""
    proposals: int
    """Maximum number of boxes of all feature maps together."""
    together: bool = False
    """Whether overlaps are suppressed in all feature maps at once."""
    sigmoid: Literal["before", "after"] | None = None
    """When scores pass a sigmoid: before or after candidates are chosen. None: never."""
    delta_clip: float
    """Maximum dw and dh of a proposal's regression (natural logarithm)."""
    min_sides: tuple[float, ...] = ()
    """Minimum sides of a proposal, for each feature map or for all."""
    sampling: Sampling
    level_epsilon: float = 0.0
    """Number added to root area / 224 before its logarithm."""
    octave_epsilon: float = 0.0
    """Number added after the logarithm."""
    fitted_anchors: bool = False
    """Whether anchors are rounded, and placed a whole number of pixels apart."""
