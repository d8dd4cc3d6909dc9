"""The anchors of one cell of a feature map."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray


def cell_anchors(
    sizes: tuple[float, ...], ratios: tuple[float, ...], *, by_ratio: bool
) -> NDArray[np.float64]:
    """The anchors (len(sizes) * len(ratios), 4) around (0, 0), size by size or ratio by ratio.

    A ratio is height over width at constant area.
    """
    pairs = list(itertools.product(sizes, ratios))
    if by_ratio:
        pairs = [(size, ratio) for ratio, size in itertools.product(ratios, sizes)]
    cell = []
    for size, ratio in pairs:
        w = math.sqrt(size * size / ratio)
        h = ratio * w
        cell.append([-w / 2, -h / 2, w / 2, h / 2])
    return np.array(cell)
