"""`crop_and_resize` for engines that have RoIAlign."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from maskrcnn_network.graph.operations import Map, Operations, Regions, Tensor
from maskrcnn_network.graph.sampling import Sampling


class CropsByRoiAlign(Operations):
    """RoIAlign with one sample in each bin, of boxes that are half a bin larger on each side."""

    def crop_and_resize(
        self,
        features: Sequence[Map],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
    ) -> Regions:
        end = self.concat([self.extent(feature)[None] - 1.0 for feature in features], 0)
        end = end[0:1] if levels is None else self.gather(end, levels)
        # Rounded as the source does it: a region that ends on the border may lose its last samples.
        # Maxima change nothing, and keep engines from fusing a product and a sum.
        low = self.maximum(boxes[..., 0:2] * end, 0.0)
        step = _quotient((boxes[..., 2:4] - boxes[..., 0:2]) * end, resolution - 1)
        index = self.constant(np.arange(resolution, dtype=np.float32)[:, None])
        places = low[:, None] + self.maximum(step[:, None] * index, 0.0)
        inside = self.where(end[:, None] >= places, places * 0.0 + 1.0, 0.0)
        first = low - step * 0.5
        around = self.concat([first, first + step * float(resolution)], -1)
        sampling, strides = Sampling(samples=1, shift=0.5), [1] * len(features)
        regions = self.roi_align(features, strides, around, images, levels, resolution, sampling)
        return self.weighted(regions, inside)

    @abstractmethod
    def weighted(self, regions: Regions, weights: Tensor) -> Regions:
        """Regions times the weights (R, resolution, 2: column, row) of their columns and rows.

        The weights are in the order of the boxes.
        """


def _quotient(x: Tensor, divisor: int) -> Tensor:
    """x / divisor, rounded once also by engines that multiply by the reciprocal.

    The remainder is exact, since no difference is larger than half of what it is taken from.
    """
    quotient = x / float(divisor)
    rest = x
    for bit in reversed(range(divisor.bit_length())):
        if divisor >> bit & 1:
            rest = rest - quotient * float(1 << bit)
    return quotient + rest / float(divisor)
