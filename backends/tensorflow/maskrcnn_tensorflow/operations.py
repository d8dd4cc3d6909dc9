"""The network's operations in TensorFlow."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_network.graph.folding import EPSILON, GROUPS, Folded, Scales, Weights
from maskrcnn_network.graph.operations import (
    DROPPED,
    LOWEST,
    Map,
    Operations,
    Pads,
    Regions,
    Slots,
    Tensor,
)
from maskrcnn_network.graph.sampling import Sampling

MAX_SAMPLES = 1 << 16
"""Upper bound of the samples of a bin in one direction."""


class TensorFlowOperations(Operations):
    """Feature maps are NHWC, and each layer is computed in the type of its kernel.

    Graphs capture kernels instead of copying them: a graph of constants is about as fast, but takes
    four times as long to start and twice the memory.
    """

    channels_last = True

    def __init__(self, folded: Folded, dtype: tf.DType = tf.float32) -> None:
        """Kernels and biases are converted to `dtype`."""
        layers = {
            # A constant keeps NumPy's copy as well as its own; the result of an operation does not.
            name: Weights(*(tf.identity(tf.cast(values, dtype)) for values in weights))
            for name, weights in folded.layers.items()
        }
        norms = {name: Scales(*map(tf.constant, scales)) for name, scales in folded.norms.items()}
        super().__init__(Folded(layers, norms))

    # Layers.

    def convolve(
        self,
        name: str,
        x: Map,
        stride: int,
        pads: Pads,
        groups: int = 1,  # noqa: ARG002 (TensorFlow sees them in the kernel's shape)
        dilation: int = 1,
    ) -> Map:
        kernel, bias = self.layers[name]
        padding = [[0, 0], pads, pads, [0, 0]]
        y = tf.nn.conv2d(tf.cast(x, kernel.dtype), kernel, stride, padding, dilations=dilation)
        return tf.nn.bias_add(y, bias)

    def group_norm(self, x: Map, scales: Scales) -> Map:
        shape = tf.shape(x)
        split = tf.concat([shape[:3], [GROUPS, x.shape[3] // GROUPS]], axis=0)
        grouped = tf.reshape(tf.cast(x, tf.float32), split)
        centred = grouped - _mean(grouped)
        normal = centred * tf.math.rsqrt(_mean(tf.square(centred)) + EPSILON)
        return tf.cast(tf.reshape(normal, shape) * scales.gamma + scales.beta, x.dtype)

    def dense(self, name: str, x: Tensor, *, relu: bool = False) -> Tensor:
        kernel, bias = self.layers[name]
        product = tf.matmul(tf.cast(x, kernel.dtype), kernel)
        # ensure_shape keeps TensorFlow from fusing both, which takes a quarter longer with frozen
        # weights.
        y = tf.nn.bias_add(tf.ensure_shape(product, [None, kernel.shape[1]]), bias)
        return self.relu(y) if relu else y

    def mask_logits(self, head: str, regions: Regions, labels: Tensor, side: int) -> Tensor:
        kernel, bias = self.layers[f"{head}/deconv"]
        x = tf.cast(regions.maps, kernel.dtype)
        shape = [tf.shape(x)[0], 2 * side, 2 * side, kernel.shape[2]]
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d_transpose(x, kernel, shape, 2), bias))
        kernel, bias = self.layers[f"{head}/conv"]
        channels = tf.gather(labels, regions.order) - 1
        own_kernel = tf.gather(tf.transpose(kernel[0, 0]), channels)
        own_bias = tf.gather(bias, channels)
        x, own_kernel, own_bias = (tf.cast(t, tf.float32) for t in (x, own_kernel, own_bias))
        x = x[: tf.shape(labels)[0]]
        logits = tf.einsum("dhwc,dc->dhw", x, own_kernel) + own_bias[:, None, None]
        return self.in_order(regions, logits)

    # Feature maps.

    def relu(self, x: Map) -> Map:
        return tf.nn.relu(x)

    def weigh(self, x: Map, weights: Tensor) -> Map:
        return x * tf.cast(weights, x.dtype)[:, None, None]

    def max_pool(self, x: Map, pads: Pads) -> Map:
        return tf.nn.max_pool2d(tf.pad(x, [[0, 0], pads, pads, [0, 0]]), 3, 2, "VALID")

    def upsample(self, x: Map) -> Map:
        return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)

    def subsample(self, x: Map) -> Map:
        return x[:, ::2, ::2]

    def crop(self, x: Map) -> Map:
        return x[:, :-1, :-1]

    def flatten(self, x: Map) -> Tensor:
        return tf.reshape(x, [-1, math.prod(x.shape[1:])])

    def spatial_mean(self, x: Map) -> Tensor:
        return tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2])

    def cells(self, x: Map, numbers: int) -> Tensor:
        return tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1, numbers])

    def extent(self, x: Map) -> Tensor:
        return tf.cast(tf.reverse(tf.shape(x)[1:3], axis=[0]), tf.float32)

    def places(self, x: Map, stride: int | None, images: Map) -> tuple[Tensor, Tensor]:
        counts, sides = tf.shape(x), tf.shape(images)
        columns, rows = (
            tf.cast(tf.range(counts[axis]) * (stride or sides[axis] // counts[axis]), tf.float32)
            for axis in (2, 1)
        )
        return columns, rows

    def roi_align(
        self,
        features: Sequence[Map],
        strides: Sequence[int],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
        sampling: Sampling,
    ) -> Regions:
        def pool(level: int, own_boxes: Tensor, own_images: Tensor) -> Tensor:
            own_boxes = own_boxes / strides[level]
            return _roi_align(features[level], own_boxes, own_images, resolution, sampling)

        return _by_level(pool, len(features), boxes, images, levels)

    def crop_and_resize(
        self,
        features: Sequence[Map],
        boxes: Tensor,
        images: Tensor,
        levels: Tensor | None,
        resolution: int,
    ) -> Regions:
        def crop(level: int, own_boxes: Tensor, own_images: Tensor) -> Tensor:
            corners = tf.gather(own_boxes, [1, 0, 3, 2], axis=1)
            feature = tf.cast(features[level], tf.float32)
            return tf.image.crop_and_resize(feature, corners, own_images, [resolution] * 2)

        return _by_level(crop, len(features), boxes, images, levels)

    def in_order(self, regions: Regions, x: Tensor) -> Tensor:
        return tf.gather(x, tf.math.invert_permutation(regions.order))

    # Tensors.

    def constant(self, values: NDArray[Any]) -> Tensor:
        return tf.constant(values)

    def minimum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return tf.minimum(a, b)

    def maximum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return tf.maximum(a, b)

    def exp(self, x: Tensor) -> Tensor:
        return tf.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return tf.math.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return tf.sqrt(x)

    def floor(self, x: Tensor) -> Tensor:
        return tf.floor(x)

    def softmax(self, x: Tensor) -> Tensor:
        return tf.nn.softmax(x)

    def where(self, condition: Tensor, x: Tensor, y: Tensor | float) -> Tensor:
        return tf.where(condition, x, y)

    def largest(self, x: Tensor) -> Tensor:
        return tf.reduce_max(x, axis=list(range(1, x.shape.rank)), keepdims=True)

    def least(self, x: Tensor) -> Tensor:
        return tf.reduce_min(x, axis=-1)

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return tf.concat(parts, axis)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return tf.reshape(x, [tf.shape(x)[i] if n == 0 else n for i, n in enumerate(shape)])

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return tf.transpose(x, axes)

    def to_int(self, x: Tensor) -> Tensor:
        return tf.cast(x, tf.int64)

    def to_float(self, x: Tensor) -> Tensor:
        return tf.cast(x, tf.float32)

    def gather(self, x: Tensor, index: Tensor) -> Tensor:
        return tf.gather(x, index)

    def take(self, x: Tensor, index: Tensor) -> Tensor:
        return tf.gather(x, index, batch_dims=1)

    # Lists of candidates.

    def top(self, scores: Tensor, count: int | Tensor) -> tuple[Tensor, Tensor]:
        there = tf.minimum(count, tf.shape(scores)[1])
        best, places = tf.math.top_k(scores, there)
        after = [[0, 0], [0, count - there]]
        return (
            tf.pad(best, after, constant_values=DROPPED),
            tf.pad(tf.cast(places, tf.int64), after),
        )

    def suppress(self, boxes: Tensor, scores: Tensor, keep: int | Tensor, iou: float) -> Tensor:
        # One map over all lists, whose iterations run in parallel.
        return tf.map_fn(
            lambda one: _suppress(one[0], one[1], keep, iou),
            (boxes, scores),
            fn_output_signature=tf.float32,
            parallel_iterations=16,
        )

    def compact(self, scores: Tensor, *values: Tensor) -> tuple[Slots, list[Tensor]]:
        places, shape = tf.where(scores >= LOWEST), tf.shape(scores, tf.int64)
        lists = [tf.gather_nd(x, places) for x in (scores, *values)]
        return Slots(places[:, 0], shape[1], (places, shape)), lists

    def spread(self, values: Tensor, slots: Slots, missing: float) -> Tensor:
        places, shape = slots.places
        full = tf.concat([shape, tf.shape(values, tf.int64)[1:]], axis=0)
        return tf.tensor_scatter_nd_update(tf.fill(full, missing), places, values)


def _mean(grouped: tf.Tensor) -> tf.Tensor:
    """The mean of each group of `grouped` (batch, height, width, groups, channels).

    Axis by axis: TensorFlow adds numbers that are not adjacent in memory one by one, and a float32
    sum of a hundred thousand loses three digits.
    """
    for axis in (1, 2, 4):
        grouped = tf.reduce_mean(grouped, axis=axis, keepdims=True)
    return grouped


def _suppress(boxes: tf.Tensor, scores: tf.Tensor, keep: int | tf.Tensor, iou: float) -> tf.Tensor:
    """Scores (n,) after suppression in one list, most of which is often `DROPPED` already."""
    candidates = tf.where(scores >= LOWEST)
    there = tf.gather_nd(scores, candidates)
    # The order of x and y does not matter: overlaps stay the same if they are swapped.
    kept = tf.image.non_max_suppression(tf.gather_nd(boxes, candidates), there, keep, iou)
    return tf.tensor_scatter_nd_update(
        tf.fill(tf.shape(scores), DROPPED), tf.gather(candidates, kept), tf.gather(there, kept)
    )


def _by_level(
    pool: Callable[[int, tf.Tensor, tf.Tensor], tf.Tensor],
    count: int,
    boxes: tf.Tensor,
    images: tf.Tensor,
    levels: tf.Tensor | None,
) -> Regions:
    """Regions of `count` maps, map by map, with the boxes of its level.

    `pool` makes them from a map's index, its boxes and their images. Without boxes there is one
    region, not in `order`: convolutions of empty maps in oneDNN return as many channels as they
    take.
    """
    there = tf.shape(boxes)[0]
    missing = [[0, tf.maximum(1 - there, 0)]]
    boxes = tf.pad(boxes, [*missing, [0, 0]])
    images = tf.pad(tf.cast(images, tf.int32), missing)
    if levels is None:
        return Regions(pool(0, boxes, images), tf.range(there))
    levels = tf.pad(levels, missing)
    members = [tf.where(levels == i)[:, 0] for i in range(count)]
    crops = [pool(i, tf.gather(boxes, m), tf.gather(images, m)) for i, m in enumerate(members)]
    return Regions(tf.concat(crops, axis=0), tf.concat(members, axis=0)[:there])


def _roi_align(
    feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor, resolution: int, sampling: Sampling
) -> tf.Tensor:
    """Regions (R, resolution, resolution, channels) of boxes (R, 4), in pixels of the map."""
    # The border is repeated for one pixel; further out are zeros.
    padded = tf.pad(tf.cast(feature, tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    corners = boxes + (sampling.shift - 0.5 * sampling.half_pixel)
    low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not sampling.half_pixel:
        extent = tf.maximum(extent, 1.0)
    if not sampling.samples:
        return _adaptive(padded, low, extent, images, resolution)
    across = resolution * sampling.samples
    samples = _samples(padded, low, extent, images, tf.constant([across, across]))
    if sampling.samples == 1:
        return samples
    return tf.nn.avg_pool2d(samples, sampling.samples, sampling.samples, "VALID")


def _adaptive(
    padded: tf.Tensor, low: tf.Tensor, extent: tf.Tensor, images: tf.Tensor, resolution: int
) -> tf.Tensor:
    """Regions with a sample for each pixel that a bin covers.

    Regions with equal numbers of samples are sampled together.
    """
    counts = tf.maximum(1, tf.cast(tf.math.ceil(extent / resolution), tf.int32))
    kinds, kind_of = tf.unique(counts[:, 1] * MAX_SAMPLES + counts[:, 0])
    number, channels = tf.shape(kinds)[0], padded.shape[3]
    shape = [None, resolution, resolution, channels]
    means = tf.TensorArray(tf.float32, number, infer_shape=False, element_shape=shape)
    members = tf.TensorArray(tf.int64, number, infer_shape=False, element_shape=[None])

    def pool(
        i: tf.Tensor, means: tf.TensorArray, members: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
        own = tf.where(kind_of == i)[:, 0]
        rows, columns = kinds[i] // MAX_SAMPLES, kinds[i] % MAX_SAMPLES
        own_low, own_extent, own_images = (tf.gather(x, own) for x in (low, extent, images))
        across = tf.stack([resolution * rows, resolution * columns])
        samples = _samples(padded, own_low, own_extent, own_images, across)
        by_bin = [-1, resolution, rows, resolution, columns, channels]
        mean = tf.reduce_mean(tf.reshape(samples, by_bin), axis=[2, 4])
        return i + 1, means.write(i, mean), members.write(i, own)

    _, means, members = tf.while_loop(lambda i, *_: i < number, pool, (0, means, members))
    return tf.gather(means.concat(), tf.math.invert_permutation(members.concat()))


def _samples(
    padded: tf.Tensor, low: tf.Tensor, extent: tf.Tensor, images: tf.Tensor, across: tf.Tensor
) -> tf.Tensor:
    """Bilinear samples, `across` (2,: in a column, in a row), of regions from `low` (R, 2: x, y).

    `padded` is the map with one pixel of padding.
    """
    places = tf.cast(tf.reverse(across, axis=[0]), tf.float32)
    spacing = extent / places
    first = low + spacing / 2 + 1.0
    last = first + spacing * (places - 1)
    largest = tf.cast(tf.reverse(tf.shape(padded)[1:3], axis=[0]), tf.float32) - 1
    corners = tf.reverse(tf.stack([first / largest, last / largest], axis=1), axis=[2])
    return tf.image.crop_and_resize(padded, tf.reshape(corners, [-1, 4]), images, across)
