"""Masks as the Object Detection API pastes them into images."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.rle import RLE, Order, Size, edges, from_edges
from maskrcnn_server.stopwatch import stage

Floats = NDArray[np.float32]
BAND = 1 << 16
"""Number of samples that are computed at once, so that they stay in a CPU's cache."""
MIN_SIDE = np.float32(1e-4)
"""Least height and width of a box by which a mask is enlarged."""


@dataclass(frozen=True, eq=False)
class ReframedMasks:
    """Soft masks `probabilities` float32 (N, h, w) in `boxes` float32 (N, 4), which are y1, x1, y2,
    x2 relative to an image of `size`; a pixel belongs to a mask above the `threshold`.

    The centres of the mask's outermost cells lie on the sides of the box, and those of the image's
    outermost pixels on its edges; TensorPack has both half a cell or pixel further in. Sources:
    `reframe_box_masks_to_image_masks` in object_detection/utils/ops.py, `resize_detection_masks`
    in eval_util.py, and the kernel of CropAndResize, whose arithmetic in float32 this is.
    """

    probabilities: Floats
    boxes: Floats
    size: Size
    threshold: float = 0.5

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, places: NDArray[np.int64]) -> "ReframedMasks":
        return replace(self, probabilities=self.probabilities[places], boxes=self.boxes[places])

    def rle(self, order: Order) -> list[RLE]:
        with stage("paste"):
            return [
                self._one(*one, order) for one in zip(self.probabilities, self.boxes, strict=True)
            ]

    def _one(self, soft: Floats, box: Floats, order: Order) -> RLE:
        first, above, below, down = _samples(box[0], box[2], self.size[0], soft.shape[0])
        start, left, right, along = _samples(box[1], box[3], self.size[1], soft.shape[1])
        wide = soft[:, left] + (soft[:, right] - soft[:, left]) * along
        inside = np.empty((len(down), len(along)), np.bool_)
        step = max(1, BAND // max(1, len(along)))
        for band in (slice(i, i + step) for i in range(0, len(down), step)):
            upper = wide[above[band]]
            value = upper + (wide[below[band]] - upper) * down[band, None]
            inside[band] = value > self.threshold
        if order == "rows":
            pieces = edges(inside, (first, start), self.size[1])
        else:
            pieces = edges(inside.T, (start, first), self.size[0])
        return from_edges([pieces], self.size, order)


def _samples(
    low: np.float32, high: np.float32, pixels: int, cells: int
) -> tuple[int, NDArray[np.intp], NDArray[np.intp], Floats]:
    """Along an axis: the first pixel that is in the box, and of each that is, the cells of the mask
    before and after it, and the weight of the second."""
    side, last = np.maximum(high - low, MIN_SIDE), np.float32(cells - 1)
    begin, end = (0 - low) / side, (1 - low) / side
    if pixels > 1:
        step = (end - begin) * last / np.float32(pixels - 1)
        place = begin * last + np.arange(pixels, dtype=np.float32) * step
    else:
        place = np.array([0.5 * (begin + end) * last], np.float32)
    within = np.flatnonzero((place >= 0) & (place <= last))
    place = place[within]
    before = np.floor(place)
    return (
        int(within[0]) if len(within) else 0,
        before.astype(np.intp),
        np.ceil(place).astype(np.intp),
        place - before,
    )
