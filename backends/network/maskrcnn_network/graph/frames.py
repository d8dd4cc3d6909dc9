"""Frames of coordinates: what the numbers of a box mean, and all that depends on it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.graph.operations import Map, Operations, Regions, Tensor
from maskrcnn_network.graph.sampling import Sampling

LEVELS = (2, 3, 4, 5)
"""Levels of a pyramid from which regions are taken."""
CANONICAL = 224.0
"""Side of the regions that level 4 serves, in pixels: the size of ImageNet's images."""

OUTSIDE = np.array([[-4096, -4096, -4095, -4095]], np.float32)
"""A box outside of every image, whose region is zeros. It stands for boxes without area, in which
engines would place none or one sample."""
LEAST_SIDE = 1e-30
"""Minimum side of a box with an area."""


class Limits(NamedTuple):
    """The smallest and the largest coordinates of a box, as numbers or tensors (batch, 4)."""

    low: Tensor | float
    high: Tensor | float

    def each(self, change: Callable[[Tensor], Tensor]) -> "Limits":
        """The limits with their tensors changed."""
        return Limits(*(x if isinstance(x, float) else change(x) for x in self))


class Frame(Protocol):
    """The coordinates in which a framework computes. Boxes are x1, y1, x2, y2 in float32."""

    def anchors(
        self,
        ops: Operations,
        logits: Map,
        shapes: NDArray[np.float64],
        stride: int | None,
        images: Map,
    ) -> Tensor:
        """The anchors (pixels * anchors, 4) of a map; `shapes` (anchors, 4) are around (0, 0).

        `stride` None: the sides of the images divided by those of the map, rounded down.
        """

    def decode(self, ops: Operations, deltas: Tensor, boxes: Tensor, clip: float) -> Tensor:
        """Apply regression `deltas` (..., 4: dx, dy, dw, dh) to `boxes` (..., 4).

        dw and dh are clipped from above at `clip` (a natural logarithm) before the exponential.
        Source: Fast R-CNN (Girshick 2015), equation of bounding-box regression.
        """

    def proposal_limits(self, ops: Operations, sizes: Tensor) -> Limits:
        """The limits of proposals in images of float32 `sizes` (batch, 2: height, width)."""

    def detection_limits(self, ops: Operations, sizes: Tensor, features: Sequence[Map]) -> Limits:
        """The limits of detections in images of float32 `sizes` (batch, 2: height, width)."""

    def levels(
        self, ops: Operations, boxes: Tensor, features: Sequence[Map], epsilons: tuple[float, float]
    ) -> Tensor:
        """Index (R,) of the map that serves each box (R, 4): Lin et al. 2017, equation 1, clamped.

        `epsilons` are added before and after the logarithm.
        """

    def sampled(
        self,
        ops: Operations,
        features: Sequence[Map],
        strides: Sequence[int],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        """Regions of `boxes` (R, 4) in images (R,), on the map of index `levels` (R,)."""


@dataclass(frozen=True)
class PixelFrame:
    """Pixels of the network's input, in whose top left corner images lie."""

    def anchors(
        self,
        ops: Operations,
        logits: Map,
        shapes: NDArray[np.float64],
        stride: int | None,
        images: Map,
    ) -> Tensor:
        columns, rows = ops.places(logits, stride, images)
        xs, ys = ops.broadcast(columns[None, :, None], rows[:, None, None])
        shifts = ops.concat([xs, ys, xs, ys], axis=-1)
        anchors = shifts[:, :, None] + ops.constant(shapes.astype(np.float32))
        return ops.reshape(anchors, (-1, 4))

    def decode(self, ops: Operations, deltas: Tensor, boxes: Tensor, clip: float) -> Tensor:
        low, high = boxes[..., 0:2], boxes[..., 2:4]
        extent = high - low
        centre = (low + high) * 0.5
        half = ops.exp(ops.minimum(deltas[..., 2:4], clip)) * extent * 0.5
        moved = deltas[..., 0:2] * extent + centre
        return ops.concat([moved - half, moved + half], axis=-1)

    def proposal_limits(self, ops: Operations, sizes: Tensor) -> Limits:
        height, width = sizes[..., 0:1], sizes[..., 1:2]
        return Limits(0.0, ops.concat([width, height, width, height], axis=-1))

    def detection_limits(
        self,
        ops: Operations,
        sizes: Tensor,
        features: Sequence[Map],  # noqa: ARG002 (others need them)
    ) -> Limits:
        return self.proposal_limits(ops, sizes)

    def levels(
        self,
        ops: Operations,
        boxes: Tensor,
        features: Sequence[Map],  # noqa: ARG002 (others need them)
        epsilons: tuple[float, float],
    ) -> Tensor:
        before, after = epsilons
        octave = ops.log(_root_area(ops, boxes) / CANONICAL + before) / math.log(2) + 4.0
        return _clamped(ops, ops.floor(octave + after))

    def sampled(
        self,
        ops: Operations,
        features: Sequence[Map],
        strides: Sequence[int],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        if not sampling.samples:
            has_area = ops.least(boxes[..., 2:4] - boxes[..., 0:2])[..., None] >= LEAST_SIDE
            boxes = ops.where(has_area, boxes, ops.constant(OUTSIDE))
        return ops.roi_align(features, strides, boxes, images, levels, resolution, sampling)


@dataclass(frozen=True)
class ClampedFrame(PixelFrame):
    """Pixels, with dw and dh clipped from below, too.

    Source: MMDetection, mmdet/models/task_modules/coders/delta_xywh_bbox_coder.py.
    """

    def decode(self, ops: Operations, deltas: Tensor, boxes: Tensor, clip: float) -> Tensor:
        extents = ops.maximum(deltas[..., 2:4], -clip)
        return super().decode(ops, ops.concat([deltas[..., 0:2], extents], axis=-1), boxes, clip)


def _root_area(ops: Operations, boxes: Tensor) -> Tensor:
    """The square root (R,) of each box' area."""
    extent = boxes[..., 2:4] - boxes[..., 0:2]
    return ops.reshape(ops.sqrt(extent[..., 0:1] * extent[..., 1:2]), (-1,))


def _clamped(ops: Operations, octaves: Tensor) -> Tensor:
    """Indices of maps from levels."""
    clamped = ops.minimum(ops.maximum(octaves, float(LEVELS[0])), float(LEVELS[-1]))
    return ops.to_int(clamped - float(LEVELS[0]))


@dataclass(frozen=True)
class NormalisedFrame:
    """Shares of the padded image, in whose middle images lie: 0 is its first pixel, 1 its last.

    The right and bottom of a box are its last pixels. Sums, products and quotients are rounded in
    the order of the source, since a region that ends on the map's border may lose its last row or
    column by rounding (`Operations.crop_and_resize`).
    Source: Matterport's Mask_RCNN, mrcnn/model.py and utils.py.
    """

    def anchors(
        self,
        ops: Operations,
        logits: Map,
        shapes: NDArray[np.float64],
        stride: int | None,
        images: Map,
    ) -> Tensor:
        columns, rows = ops.places(logits, stride, images)
        last = ops.extent(images) - 1.0
        inclusive = shapes - np.array([0, 0, 1, 1])
        xs = _quotients(ops, columns, inclusive[:, 0::2], last[0:1])[None]
        ys = _quotients(ops, rows, inclusive[:, 1::2], last[1:2])[:, None]
        xs, ys = ops.broadcast(xs, ys)
        corners = [side[..., i : i + 1] for i in (0, 1) for side in (xs, ys)]
        return ops.reshape(ops.concat(corners, axis=-1), (-1, 4))

    def decode(self, ops: Operations, deltas: Tensor, boxes: Tensor, clip: float) -> Tensor:
        low = boxes[..., 0:2]
        extent = boxes[..., 2:4] - low
        centre = low + extent * 0.5 + deltas[..., 0:2] * extent
        extent = extent * ops.exp(ops.minimum(deltas[..., 2:4], clip))
        start = centre - extent * 0.5
        return ops.concat([start, start + extent], axis=-1)

    def proposal_limits(self, ops: Operations, sizes: Tensor) -> Limits:  # noqa: ARG002
        return Limits(0.0, 1.0)

    def detection_limits(self, ops: Operations, sizes: Tensor, features: Sequence[Map]) -> Limits:
        canvas, own = _canvas(ops, features), ops.concat([sizes[:, 1:2], sizes[:, 0:1]], axis=-1)
        low = ops.floor((canvas - own) * 0.5)
        ends = low / (canvas - 1.0), (low + own - 1.0) / (canvas - 1.0)
        return Limits(*(ops.concat([end, end], axis=-1) for end in ends))

    def levels(
        self,
        ops: Operations,
        boxes: Tensor,
        features: Sequence[Map],
        epsilons: tuple[float, float],
    ) -> Tensor:
        before, after = epsilons
        canvas = _canvas(ops, features)
        canonical = CANONICAL / ops.sqrt(canvas[0:1] * canvas[1:2])
        octave = ops.log(_root_area(ops, boxes) / canonical + before) / math.log(2) + 4.0
        return _clamped(ops, ops.floor(octave + after))

    def sampled(
        self,
        ops: Operations,
        features: Sequence[Map],
        strides: Sequence[int],  # noqa: ARG002 (others need them)
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,  # noqa: ARG002 (others need it)
    ) -> Regions:
        return ops.crop_and_resize(features, boxes, images, levels, resolution)


def _canvas(ops: Operations, features: Sequence[Map]) -> Tensor:
    """Width and height (2,) of the padded images, which level 2 divides by 4."""
    return ops.extent(features[0]) * float(1 << LEVELS[0])


def _quotients(
    ops: Operations, places: Tensor, offsets: NDArray[np.float64], divisor: Tensor
) -> Tensor:
    """(places (n,) + offsets (k, 2)) / divisor (1,), as (n, k, 2), rounded once.

    Places and divisors are integers below 2^12. The remainder of a float32 division is exact if
    the quotient is cut in two (Dekker 1971).
    """
    coarse = np.round(offsets * 1024) / 1024
    dividend = places[:, None, None] + ops.constant(coarse.astype(np.float32))
    quotient = dividend / divisor
    high = quotient * 4097.0
    high = high - (high - quotient)
    rest = dividend - high * divisor - (quotient - high) * divisor
    return quotient + (rest + ops.constant((offsets - coarse).astype(np.float32))) / divisor
