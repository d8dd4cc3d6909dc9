"""How MMDetection resizes images."""

from dataclasses import dataclass

from maskrcnn_network.preparation import Preparation
from maskrcnn_server.rle import Size


@dataclass(frozen=True, kw_only=True)
class WithinScale(Preparation):
    """Images as large as two edges allow, whose sizes are rounded from one scale.

    Of images twice as wide as high, some get one row more or less than from TensorPack's formula.
    Source: mmcv/image/geometric.py, `rescale_size`.
    """

    def resized_size(self, size: Size) -> Size:
        """Height and width of a resized image; no side gets shorter than one pixel."""
        if self.short_edge is None:
            return super().resized_size(size)
        scale = min(self.long_edge / max(size), self.short_edge / min(size))
        height, width = (max(1, int(side * scale + self.rounding)) for side in size)
        return height, width
