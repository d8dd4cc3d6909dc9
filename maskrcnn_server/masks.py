"""Masks of instances: a type for each representation, and run lengths from either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.pasting import pasted
from maskrcnn_server.rle import encode
from maskrcnn_server.stopwatch import stage

if TYPE_CHECKING:
    from maskrcnn_server.rle import RLE, Order, Size


class Masks(Protocol):
    """The masks of N instances in one image."""

    @property
    def size(self) -> Size:
        """Height and width of the image."""

    def __len__(self) -> int: ...

    def rle(self, order: Order) -> list[RLE]:
        """Each mask's run lengths."""

    def take(self, places: NDArray[np.int64]) -> Masks:
        """The masks at these positions, in this order."""


@dataclass(frozen=True, eq=False)
class BitMasks:
    """Masks as bitmaps: `bitmaps` bool (N, height, width)."""

    bitmaps: NDArray[np.bool_]

    @property
    def size(self) -> Size:
        return self.bitmaps.shape[1], self.bitmaps.shape[2]

    def __len__(self) -> int:
        return len(self.bitmaps)

    def rle(self, order: Order) -> list[RLE]:
        return [encode(bitmap, order) for bitmap in self.bitmaps]

    def take(self, places: NDArray[np.int64]) -> BitMasks:
        return BitMasks(self.bitmaps[places])


@dataclass(frozen=True, eq=False)
class RunLengthMasks:
    """Masks as run lengths, all of `size`; ValueError on construction if one is not."""

    runs: Sequence[RLE]
    size: Size

    def __post_init__(self) -> None:
        height, width = self.size
        for run in self.runs:
            fits = run.size == self.size and run.counts.sum() == height * width
            if not fits or (run.counts < 0).any():
                raise ValueError(f"run lengths do not fit a mask of {height} x {width}")

    def __len__(self) -> int:
        return len(self.runs)

    def rle(self, order: Order) -> list[RLE]:
        return [run.to(order) for run in self.runs]

    def take(self, places: NDArray[np.int64]) -> RunLengthMasks:
        return RunLengthMasks([self.runs[place] for place in places], self.size)


@dataclass(frozen=True, eq=False)
class RoiMasks:
    """Soft masks in their boxes: bitmaps only together with boxes, image size and a threshold.

    `probabilities` float32 (N, M, M) in 0..1, row-major over the box; `boxes` float32 (N, 4)
    absolute x1, y1, x2, y2; a pixel belongs to the instance where the probability at its centre is
    `threshold` (0 to 1, not 0) or more.

    Pasting follows TensorPack's accurate paste (FasterRCNN/eval.py, `_paste_mask`): one mask pixel
    of zeros is added on each side, the box scaled to match, and the mask sampled bilinearly at the
    centres of the image's pixels, in float32. A box without area has an empty mask.
    """

    probabilities: NDArray[np.float32]
    boxes: NDArray[np.float32]
    size: Size
    threshold: float = 0.5

    def __post_init__(self) -> None:
        n, m = len(self.boxes), self.probabilities.shape[-1]
        if self.boxes.shape != (n, 4):
            raise ValueError(f"boxes of shape {self.boxes.shape}: not (N, 4)")
        if self.probabilities.shape != (n, m, m) or m == 0:
            raise ValueError(
                f"masks of shape {self.probabilities.shape} for {n} boxes: not (N, M, M)"
            )
        if not 0 < self.threshold <= 1:
            raise ValueError(f"mask threshold {self.threshold}: more than 0, at most 1")

    def __len__(self) -> int:
        return len(self.probabilities)

    def rle(self, order: Order) -> list[RLE]:
        with stage("paste"):
            return pasted(self, order)

    def take(self, places: NDArray[np.int64]) -> RoiMasks:
        return replace(self, probabilities=self.probabilities[places], boxes=self.boxes[places])
