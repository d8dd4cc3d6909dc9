"""Operations, each held against its definition."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_network.graph.folding import GROUPS, Folded, Scales, Weights
from maskrcnn_network.graph.operations import DROPPED, Regions
from maskrcnn_network.graph.rules import Sampling
from maskrcnn_tensorflow.operations import TensorFlowOperations

OPS = TensorFlowOperations(Folded({}, {}))
MAPS = [np.random.default_rng(i).random((2, 16 >> i, 24 >> i, 3), np.float32) for i in range(2)]
STRIDES = (4, 8)
BOXES = np.array(
    [[1, 2, 90, 60], [0, 0, 96, 64], [33.5, 7, 38, 9], [50, 50, 50, 50], [95, 60, 96, 64]],
    np.float32,
)
IMAGES = np.array([0, 1, 1, 0, 1])
LEVELS = np.array([1, 1, 0, 0, 0])


def layer(*shape: int, out: int = -1) -> Weights:
    """A layer with a kernel of this shape, of which axis `out` is the channels out."""
    random = np.random.default_rng(0)
    bias = random.standard_normal(shape[out]).astype(np.float32)
    return Weights(random.standard_normal(shape).astype(np.float32), bias)


def sample(image: NDArray[np.float32], y: float, x: float) -> NDArray[np.float64]:
    """The bilinear sample at a place in pixels of the map: 0 from one beyond its border on."""
    height, width, _ = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[2])
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    lower = image[below, left] * (left + 1 - x) + image[below, right] * (x - left)
    return np.asarray(upper * (top + 1 - y) + lower * (y - top), np.float64)


def region(
    image: NDArray[np.float32], box: NDArray[np.float32], resolution: int, sampling: Sampling
) -> NDArray[np.float64]:
    """RoIAlign by its definition: the mean of each bin's samples."""
    left, top, right, bottom = box + sampling.shift - 0.5 * sampling.half_pixel
    least = 0.0 if sampling.half_pixel else 1.0
    width, height = max(right - left, least) / resolution, max(bottom - top, least) / resolution
    rows, columns = (sampling.samples or max(1, math.ceil(side)) for side in (height, width))
    bins = np.zeros((resolution, resolution, image.shape[2]))
    for i, j in itertools.product(range(resolution), repeat=2):
        places = itertools.product(range(rows), range(columns))
        bins[i, j] = np.mean(
            [
                sample(
                    image,
                    top + (i + (y + 0.5) / rows) * height,
                    left + (j + (x + 0.5) / columns) * width,
                )
                for y, x in places
            ],
            axis=0,
        )
    return bins


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(samples=2),
        Sampling(samples=1, shift=0.5),
        Sampling(samples=0),
        Sampling(samples=2, half_pixel=False),
    ],
    ids=["tensorpack", "aws_samples", "detectron2", "torchvision"],
)
def test_regions_are_the_means_of_samples(sampling: Sampling) -> None:
    regions = OPS.roi_align(MAPS, STRIDES, tf.constant(BOXES), IMAGES, LEVELS, 4, sampling)
    found = OPS.in_order(regions, regions.maps).numpy()
    for seen, box, image, level in zip(found, BOXES, IMAGES, LEVELS, strict=True):
        expected = region(MAPS[level][image], box / STRIDES[level], 4, sampling)
        np.testing.assert_allclose(seen, expected, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 2])
def test_without_boxes_convolutions_still_have_a_region(samples: int) -> None:
    none, boxes = np.zeros(0, np.int64), tf.zeros([0, 4])
    sampling = Sampling(samples=samples)
    # In a graph: outside of one, what is adaptive cannot join the regions of a map without any.
    roi_align = tf.function(partial(OPS.roi_align, MAPS, STRIDES))
    regions = roi_align(boxes, none, none, 4, sampling)
    assert regions.maps.shape == (1, 4, 4, 3)
    assert OPS.in_order(regions, regions.maps).shape == (0, 4, 4, 3)


def test_one_map_serves_all_boxes_without_levels() -> None:
    sampling = Sampling(samples=2)
    maps, _ = OPS.roi_align(MAPS[:1], STRIDES[:1], tf.constant(BOXES), IMAGES, None, 4, sampling)
    np.testing.assert_allclose(maps[1], region(MAPS[0][1], BOXES[1] / 4, 4, sampling), atol=1e-4)


def test_a_convolution_is_padded_as_it_says() -> None:
    ops = TensorFlowOperations(Folded({"x": layer(3, 3, 3, 2)}, {}))
    kernel, bias = layer(3, 3, 3, 2)
    padded = np.pad(MAPS[0], [(0, 0), (1, 0), (1, 0), (0, 0)])
    found = ops.convolve("x", MAPS[0], 2, (1, 0)).numpy()
    for y, x in [(0, 0), (7, 11), (3, 5)]:
        window = padded[1, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        expected = np.einsum("hwc,hwco->o", window, kernel) + bias
        np.testing.assert_allclose(found[1, y, x], expected, rtol=1e-4, atol=1e-4)
    assert found.shape == (2, 8, 12, 2)


def test_layers_are_computed_in_the_type_of_their_kernels() -> None:
    layers = {"conv": layer(1, 1, 3, 2), "dense": layer(3, 2)}
    ops = TensorFlowOperations(Folded(layers, {}), tf.bfloat16)
    assert ops.convolve("conv", MAPS[0], 1, (0, 0)).dtype == tf.bfloat16
    assert ops.dense("dense", BOXES[:, :3]).dtype == tf.bfloat16
    features = [tf.cast(MAPS[0], tf.bfloat16)]
    boxes = tf.constant(BOXES)
    regions = OPS.roi_align(features, (4,), boxes, IMAGES, None, 4, Sampling(samples=2))
    assert regions.maps.dtype == tf.float32


def test_groups_of_many_pixels_are_normalised_to_the_last_digits() -> None:
    """A quarter of a million pixels far from 0, of which a naive sum loses three digits."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 512, 512, GROUPS)).astype(np.float32) + 100
    gamma, beta = random.random((2, GROUPS), np.float32)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=(1, 2))
    expected = centred / np.sqrt(exact.var(axis=(1, 2)) + 1e-5) * gamma + beta
    found = OPS.group_norm(tf.constant(x), Scales(gamma, beta))
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_a_mask_is_the_one_of_its_label() -> None:
    layers = {"maskrcnn/deconv": layer(2, 2, 5, 3, out=2), "maskrcnn/conv": layer(1, 1, 5, 4)}
    ops = TensorFlowOperations(Folded(layers, {}))
    maps = np.random.default_rng(2).random((3, 2, 2, 3), np.float32)
    labels, order = np.array([4, 1, 2]), np.array([2, 0, 1])
    found = ops.mask_logits("maskrcnn", Regions(tf.constant(maps), order), labels, 2).numpy()
    deconv, (kernel, bias) = layers["maskrcnn/deconv"], layers["maskrcnn/conv"]
    for x, box in zip(maps, order, strict=True):
        wide = np.einsum("hwc,ijoc->hiwjo", x, deconv.kernel).reshape(4, 4, 5) + deconv.bias
        logits = np.maximum(wide, 0) @ kernel[0, 0] + bias
        np.testing.assert_allclose(found[box], logits[..., labels[box] - 1], atol=1e-5)


def test_the_best_come_first_and_the_earlier_of_equal_ones() -> None:
    scores = np.array([[1, 3, 3, 2], [DROPPED, 0, 5, 0]], np.float32)
    best, places = OPS.top(tf.constant(scores), 3)
    np.testing.assert_array_equal(best, [[3, 3, 2], [5, 0, 0]])
    np.testing.assert_array_equal(places, [[1, 2, 3], [2, 1, 3]])
    best, places = OPS.top(tf.constant(scores), tf.constant(6))
    np.testing.assert_array_equal(best[:, 4:], np.full((2, 2), DROPPED))
    np.testing.assert_array_equal(places[:, 4:], np.zeros((2, 2)))


def test_overlaps_are_suppressed_list_by_list() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 5, 0, 5], [20, 0, 30, 10]], np.float32)
    scores = np.array([[1, 2, 3, DROPPED], [4, 3, 2, 1]], np.float32)
    lists = tf.constant([boxes, boxes]), tf.constant(scores)
    everything = [[DROPPED, 2, 3, DROPPED], [4, DROPPED, 2, 1]]
    np.testing.assert_array_equal(OPS.suppress(*lists, 4, 0.5), everything)
    two = [[DROPPED, 2, 3, DROPPED], [4, DROPPED, 2, DROPPED]]
    np.testing.assert_array_equal(OPS.suppress(*lists, tf.constant(2), 0.5), two)
    nothing = tf.fill([2, 4], DROPPED)
    np.testing.assert_array_equal(OPS.suppress(lists[0], nothing, 4, 0.5), nothing)


def test_lists_come_back_to_where_they_were() -> None:
    scores = np.array([[3, DROPPED, 1], [DROPPED, DROPPED, 2]], np.float32)
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    slots, (found, pairs) = OPS.compact(tf.constant(scores), tf.constant(values))
    np.testing.assert_array_equal(found, [3, 1, 2])
    np.testing.assert_array_equal(pairs, [[0, 1], [4, 5], [10, 11]])
    np.testing.assert_array_equal(slots.images, [0, 0, 1])
    assert int(slots.width) == 3
    np.testing.assert_array_equal(OPS.spread(found, slots, DROPPED), scores)
    expected = np.where(np.isfinite(scores)[..., None], values, -1)
    np.testing.assert_array_equal(OPS.spread(pairs, slots, -1.0), expected)


def test_places_are_whole_pixels_of_the_images_apart() -> None:
    feature, images = tf.zeros([1, 13, 19, 1]), tf.zeros([1, 800, 1216, 3])
    columns, rows = OPS.places(feature, None, images)
    np.testing.assert_array_equal(columns, np.arange(19) * 64)
    np.testing.assert_array_equal(rows, np.arange(13) * 61)
    columns, _ = OPS.places(feature, 64, images)
    assert columns.dtype == tf.float32
    np.testing.assert_array_equal(columns, np.arange(19) * 64)
