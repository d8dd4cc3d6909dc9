"""Sizes and ratios of anchors, as frameworks' configurations list them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

LEVELS = 5
"""Levels of a ResNet's pyramid."""
MAX_LEVELS = 8


def _size_of_each_level(sizes: Any) -> Any:
    """Sizes of five levels from lists of one size for each, if they are that."""
    if not _is_nested(sizes):
        return sizes
    if any(len(own) != len(sizes[0]) for own in sizes):
        raise ValueError(
            "as many sizes for each level are computed, such as [[32], [64], ...], or the same for "
            "all, such as [[32, 64, 128]]"
        )
    return [own[0] for own in sizes] if len(sizes) == LEVELS and len(sizes[0]) == 1 else sizes


def _ratios_of_all_levels(ratios: Any) -> Any:
    """Ratios from one list for all levels, or from equal lists for each level."""
    if not _is_nested(ratios):
        return ratios
    if any(level != ratios[0] for level in ratios):
        raise ValueError("the same ratios on all levels are computed")
    return ratios[0]


def _is_nested(value: Any) -> bool:
    return bool(
        isinstance(value, list | tuple)
        and value
        and all(isinstance(v, list | tuple) for v in value)
    )


AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = tuple[AboveZero, AboveZero, AboveZero, AboveZero, AboveZero]
"""Size of the anchors of each level of the pyramid, in pixels."""
CellSizes = Annotated[tuple[AboveZero, ...], Field(min_length=1, max_length=16)]
LevelSizes = Annotated[
    Sizes | Annotated[tuple[CellSizes, ...], Field(min_length=1, max_length=MAX_LEVELS)],
    BeforeValidator(_size_of_each_level),
]
"""Size of the anchors of each level of the pyramid, in pixels; or a list of sizes for each level,
or one such list for all levels."""
LevelRatios = Annotated[tuple[AboveZero, ...], BeforeValidator(_ratios_of_all_levels)]
"""Height by width of the anchors of every level; also as a list for each level."""
