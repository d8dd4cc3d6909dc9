"""How RoIAlign samples regions, where frameworks differ."""

from dataclasses import dataclass


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
