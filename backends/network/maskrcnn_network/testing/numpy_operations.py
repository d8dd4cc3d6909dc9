"""The network's operations in plain NumPy: slow, and as short as their definitions.

Feature maps are (batch, height, width, channels).
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from maskrcnn_network.graph.folding import EPSILON, GROUPS, Scales
from maskrcnn_network.graph.operations import DROPPED, LOWEST, Operations, Pads, Regions, Slots
from maskrcnn_network.graph.sampling import Sampling

Array: TypeAlias = NDArray[Any]


class NumPyOperations(Operations):
    """Computes at once, in float32."""

    channels_last = True

    # Layers.

    def convolve(
        self, name: str, x: Array, stride: int, pads: Pads, groups: int = 1, dilation: int = 1
    ) -> Array:
        kernel, bias = self.layers[name]
        windows = _windows(x, (kernel.shape[0] - 1) * dilation + 1, stride, pads)
        windows = windows[..., ::dilation, ::dilation]
        parts = zip(np.split(windows, groups, 3), np.split(kernel, groups, 3), strict=True)
        each = [np.tensordot(own, k, axes=((4, 5, 3), (0, 1, 2))) for own, k in parts]
        return np.concatenate(each, axis=3) + bias

    def group_norm(self, x: Array, scales: Scales) -> Array:
        grouped = x.reshape(*x.shape[:3], GROUPS, -1)
        centred = grouped - _mean(grouped)
        normal = centred / np.sqrt(_mean(centred * centred) + EPSILON)
        return normal.reshape(x.shape) * scales.gamma + scales.beta

    def dense(self, name: str, x: Array, *, relu: bool = False) -> Array:
        kernel, bias = self.layers[name]
        y: Array = x @ kernel + bias
        return self.relu(y) if relu else y

    def mask_logits(self, head: str, regions: Regions, labels: Array, side: int) -> Array:
        deconv, conv = self.layers[f"{head}/deconv"], self.layers[f"{head}/conv"]
        quarters = np.tensordot(regions.maps, deconv.kernel, axes=(3, 3))  # R, y, x, 2, 2, out
        x = quarters.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 2 * side, 2 * side, len(deconv.bias))
        x = self.relu(x + deconv.bias)
        own_kernel, own_bias = conv.kernel[0, 0].T[labels - 1], conv.bias[labels - 1]
        return np.asarray(np.einsum("ryxc,rc->ryx", x, own_kernel) + own_bias[:, None, None])

    # Feature maps.

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def weigh(self, x: Array, weights: Array) -> Array:
        return x * weights[:, None, None]

    def max_pool(self, x: Array, pads: Pads) -> Array:
        return np.asarray(_windows(x, 3, 2, pads).max(axis=(4, 5)))

    def upsample(self, x: Array) -> Array:
        return x.repeat(2, axis=1).repeat(2, axis=2)

    def subsample(self, x: Array) -> Array:
        return x[:, ::2, ::2]

    def crop(self, x: Array) -> Array:
        return x[:, :-1, :-1]

    def flatten(self, x: Array) -> Array:
        return x.reshape(len(x), np.prod(x.shape[1:], dtype=int))

    def spatial_mean(self, x: Array) -> Array:
        return np.asarray(x.mean(axis=(1, 2)))

    def cells(self, x: Array, numbers: int) -> Array:
        return x.reshape(len(x), -1, numbers)

    def extent(self, x: Array) -> Array:
        return np.array(x.shape[2:0:-1], np.float32)

    def places(self, x: Array, stride: int | None, images: Array) -> tuple[Array, Array]:
        rows, columns = (
            np.arange(x.shape[axis], dtype=np.float32) * (stride or images.shape[axis] // length)
            for axis, length in ((1, x.shape[1]), (2, x.shape[2]))
        )
        return columns, rows

    def roi_align(
        self,
        features: Sequence[Array],
        strides: Sequence[int],
        boxes: Array,
        images: Array,
        levels: Array | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        """The mean of bilinear samples is a product of row shares and column shares."""
        if levels is None:
            levels = np.zeros(len(boxes), np.int64)
        maps = np.zeros((len(boxes), resolution, resolution, features[0].shape[3]), np.float32)
        for region, box, image, level in zip(maps, boxes, images, levels, strict=True):
            feature = features[level][image]
            x1, y1, x2, y2 = box / np.float32(strides[level])
            rows = _shares(y1, y2, feature.shape[0], resolution, sampling)
            columns = _shares(x1, x2, feature.shape[1], resolution, sampling)
            region[:] = columns @ np.tensordot(rows, feature, axes=1)
        return Regions(maps)

    def crop_and_resize(
        self,
        features: Sequence[Array],
        boxes: Array,
        images: Array,
        levels: Array | None,
        resolution: int,
    ) -> Regions:
        if levels is None:
            levels = np.zeros(len(boxes), np.int64)
        maps = np.zeros((len(boxes), resolution, resolution, features[0].shape[3]), np.float32)
        for region, box, image, level in zip(maps, boxes, images, levels, strict=True):
            feature = features[level][image]
            rows = _edge_shares(box[1], box[3], feature.shape[0], resolution)
            columns = _edge_shares(box[0], box[2], feature.shape[1], resolution)
            region[:] = columns @ np.tensordot(rows, feature, axes=1)
        return Regions(maps)

    # Tensors.

    def constant(self, values: Array) -> Array:
        return values

    def minimum(self, a: Array, b: Array | float) -> Array:
        return np.minimum(a, b)

    def maximum(self, a: Array, b: Array | float) -> Array:
        return np.maximum(a, b)

    def exp(self, x: Array) -> Array:
        with np.errstate(over="ignore"):  # sigmoids of infinity are fine
            return np.exp(x)

    def log(self, x: Array) -> Array:
        with np.errstate(divide="ignore"):  # boxes without area are on the first level
            return np.log(x)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def floor(self, x: Array) -> Array:
        return np.floor(x)

    def softmax(self, x: Array) -> Array:
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return np.where(condition, x, y)

    def largest(self, x: Array) -> Array:
        return np.asarray(x.max(axis=tuple(range(1, x.ndim)), keepdims=True))

    def least(self, x: Array) -> Array:
        return np.asarray(x.min(axis=-1))

    def concat(self, parts: Sequence[Array], axis: int) -> Array:
        return np.concatenate(parts, axis)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape([n or x.shape[axis] for axis, n in enumerate(shape)])

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(axes)

    def to_int(self, x: Array) -> Array:
        return x.astype(np.int64)

    def to_float(self, x: Array) -> Array:
        return x.astype(np.float32)

    def gather(self, x: Array, index: Array) -> Array:
        return np.asarray(x[index])

    def take(self, x: Array, index: Array) -> Array:
        return np.asarray(x[np.arange(len(x))[:, None], index])

    # Lists of candidates.

    def top(self, scores: Array, count: int) -> tuple[Array, Array]:
        places = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        best = self.take(scores, places)
        after = ((0, 0), (0, count - best.shape[1]))
        return np.pad(best, after, constant_values=DROPPED), np.pad(places, after)

    def suppress(self, boxes: Array, scores: Array, keep: int, iou: float) -> Array:
        kept = np.full_like(scores, DROPPED)
        for index, own in enumerate(scores):
            best_first = np.argsort(-own, kind="stable")
            left = best_first[own[best_first] >= LOWEST]
            for _ in range(keep):
                if not len(left):
                    break
                best, left = left[0], left[1:]
                kept[index, best] = own[best]
                left = left[overlaps(boxes[index, best], boxes[index, left]) <= iou]
        return kept

    def compact(self, scores: Array, *values: Array) -> tuple[Slots, list[Array]]:
        places = np.nonzero(scores >= LOWEST)
        slots = Slots(places[0], scores.shape[1], (places, scores.shape))
        return slots, [x[places] for x in (scores, *values)]

    def spread(self, values: Array, slots: Slots, missing: float) -> Array:
        places, shape = slots.places
        full = np.full((*shape, *values.shape[1:]), missing, np.float32)
        full[places] = values
        return full


def _windows(x: Array, size: int, stride: int, pads: Pads) -> Array:
    """The windows of a kernel: (batch, height, width, channels, size, size)."""
    padded = np.pad(x, ((0, 0), pads, pads, (0, 0)))
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def _mean(grouped: Array) -> Array:
    """The mean of each group (batch, height, width, groups, channels) of each image."""
    columns = grouped.mean(axis=1, keepdims=True).mean(axis=2, keepdims=True)
    return np.asarray(columns.mean(axis=4, keepdims=True))


def _shares(start: Any, end: Any, length: int, bins: int, sampling: Sampling) -> Array:
    """The share (bins, length) of each pixel of a line in each bin from `start` to `end`.

    Source: torchvision, csrc/ops/cpu/roi_align_common.h.
    """
    extent = end - start
    start += sampling.shift
    if sampling.half_pixel:
        start -= 0.5
    else:
        extent = np.maximum(extent, np.float32(1))
    samples = bins * (sampling.samples or ceil(extent / bins))
    if samples == 0:
        return np.zeros((bins, length), np.float32)
    at = start + (np.arange(samples, dtype=np.float32) + np.float32(0.5)) * (extent / samples)
    seen = (at >= -1) & (at <= length)
    at = np.clip(at, 0, length - 1)
    low = at.astype(np.int64)
    shares = np.zeros((samples, length), np.float32)
    shares[np.arange(samples), low] = 1 - (at - low)
    shares[np.arange(samples), np.minimum(low + 1, length - 1)] += at - low
    return np.asarray((shares * seen[:, None]).reshape(bins, -1, length).mean(axis=1))


def _edge_shares(start: Any, end: Any, length: int, samples: int) -> Array:
    """The share (samples, length) of each pixel of a line in samples from `start` to `end`.

    0 is the first pixel, 1 the last.
    """
    last = np.float32(length - 1)
    step = (end - start) * last / np.float32(samples - 1)
    at = start * last + np.arange(samples, dtype=np.float32) * step
    seen = (at >= 0) & (at <= last)
    low = np.clip(at, 0, last).astype(np.int64)
    shares = np.zeros((samples, length), np.float32)
    shares[np.arange(samples), low] = 1 - (at - low)
    shares[np.arange(samples), np.minimum(low + 1, length - 1)] += at - low
    return np.asarray(shares * seen[:, None])


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of a box (4,) with others (n, 4); 0 for boxes without area."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - both
    return np.asarray(both / np.maximum(union, np.finfo(np.float32).tiny))
