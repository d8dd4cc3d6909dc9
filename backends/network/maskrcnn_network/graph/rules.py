"""Rules that differ between frameworks, as numbers."""

from dataclasses import dataclass, field
from typing import Literal

from maskrcnn_network.graph.frames import Frame, PixelFrame
from maskrcnn_network.graph.sampling import Sampling

__all__ = ["Rules", "Sampling"]


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
    filled: bool = False
    """Whether boxes without extent at (0, 0) and with score 0 make up for missing proposals."""
    sigmoid: Literal["before", "after"] | None = None
    """When scores pass a sigmoid: before or after candidates are chosen. None: never."""
    delta_clip: float
    """Maximum dw and dh of a proposal's regression (natural logarithm)."""
    regression_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Divisors of a proposal's regression."""
    min_sides: tuple[float, ...] = ()
    """Minimum sides of a proposal, for each feature map or for all."""
    score_floor: float = 0.0
    """Minimum score of a proposal, after its sigmoid."""
    frame: Frame = field(default_factory=PixelFrame)
    """The coordinates of boxes."""
    sampling: Sampling
    level_epsilon: float = 0.0
    """Number added to root area / 224 before its logarithm."""
    octave_epsilon: float = 0.0
    """Number added after the logarithm."""
    fitted_anchors: bool = False
    """Whether anchors are rounded, and placed a whole number of pixels apart."""
    anchors_by_ratio: bool = False
    """Whether the anchors of a cell are ordered by ratio, then by size. If not, by size first."""
    averaged: Literal["probabilities", "logits"] = "probabilities"
    """What the class of a box is averaged from over the box heads of a cascade."""
    best_class_only: bool = False
    """Whether a proposal is a detection of its most probable class only, and overlaps are compared
    without shifting boxes. Needs `filled`."""
