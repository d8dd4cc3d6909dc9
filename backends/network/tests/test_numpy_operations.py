"""The reference, on numbers that are known without it."""

import math

import numpy as np
import pytest

from maskrcnn_network.graph.folding import Folded, Scales, Weights
from maskrcnn_network.graph.frames import ClampedFrame, PixelFrame
from maskrcnn_network.graph.operations import DROPPED, Regions
from maskrcnn_network.graph.rules import Sampling
from maskrcnn_network.testing.numpy_operations import Array, NumPyOperations


def operations(**layers: Weights) -> NumPyOperations:
    return NumPyOperations(Folded({name.replace("_", "/"): w for name, w in layers.items()}, {}))


def floats(*values: object) -> Array:
    return np.array(values, np.float32)


def pooled(box: Array, sampling: Sampling, resolution: int = 2) -> Array:
    """RoIAlign of a map whose value is the x of its pixel plus 100 times its y."""
    ramp = floats(np.arange(8)[None, :, None] + 100.0 * np.arange(8)[:, None, None])
    found = operations().roi_align(
        [ramp], [4], box[None], np.array([0]), None, resolution, sampling
    )
    return np.asarray(found.maps[0, :, :, 0])


def test_a_convolution_moves_by_its_kernel() -> None:
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[0, 2] = 1  # sees what is above and to the right
    image = floats(np.arange(12.0).reshape(3, 4, 1))
    moved = operations(layer=Weights(kernel, floats(0.5))).conv("layer", image)
    assert moved[0, :, :, 0].tolist() == [
        [0.5, 0.5, 0.5, 0.5],
        [1.5, 2.5, 3.5, 0.5],
        [5.5, 6.5, 7.5, 0.5],
    ]


def test_pads_come_first_on_top_and_left() -> None:
    kernel = np.ones((1, 1, 1, 1), np.float32)
    ops = operations(layer=Weights(kernel, floats(0)))
    assert ops.convolve("layer", np.ones((1, 2, 2, 1), np.float32), 1, (2, 1)).shape[1:3] == (5, 5)
    assert ops.convolve("layer", np.ones((1, 1, 1, 1), np.float32), 1, (1, 0))[
        0, :, :, 0
    ].tolist() == [
        [0, 0],
        [0, 1],
    ]


def test_groups_are_normalised_each_by_itself() -> None:
    x = np.random.default_rng(0).normal(3, 5, (2, 6, 5, 64)).astype(np.float32)
    scales = Scales(np.ones(64, np.float32), np.zeros(64, np.float32))
    normal = operations().group_norm(x, scales).reshape(2, 30, 32, 2)
    assert normal.mean(axis=(1, 3)) == pytest.approx(0, abs=1e-6)
    assert normal.std(axis=(1, 3)) == pytest.approx(1, abs=1e-5)


def test_bins_of_whole_pixels_see_their_centres() -> None:
    """Columns 4 to 12 at stride 4, half a pixel back, are 0.5 to 2.5 of the map."""
    seen = pooled(floats(4, 8, 12, 16), Sampling(samples=2))
    assert seen == pytest.approx(floats([201, 202], [301, 302]))


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_a_ramp_looks_the_same_with_any_number_of_samples(samples: int) -> None:
    box = floats(5, 6, 20, 25)
    seen = pooled(box, Sampling(samples=samples), 3)
    assert seen == pytest.approx(pooled(box, Sampling(samples=4), 3), abs=1e-3)


def test_without_half_pixels_a_region_is_a_pixel_wide() -> None:
    seen = pooled(floats(8, 8, 8, 8), Sampling(samples=1, half_pixel=False))
    assert seen == pytest.approx(floats([227.25, 227.75], [277.25, 277.75]))


def test_beyond_a_pixel_outside_there_is_nothing() -> None:
    sampling = Sampling(samples=1, half_pixel=False)
    assert pooled(floats(-8, 8, -4, 12), sampling, 1).tolist() == [[0]]
    assert pooled(floats(-4, 8, 0, 12), sampling, 1).tolist() == [[250]]
    assert pooled(floats(28, 8, 32, 12), sampling, 1).tolist() == [[257]]
    assert pooled(floats(32, 8, 36, 12), sampling, 1).tolist() == [[0]]


def test_mask_logits_are_of_the_labels_channel() -> None:
    deconv = np.zeros((2, 2, 1, 1), np.float32)
    deconv[0, 1] = 1  # the pixel's top right quarter
    conv = floats([[[2, 3]]]).reshape(1, 1, 1, 2)
    ops = operations(
        maskrcnn_deconv=Weights(deconv, floats(0)), maskrcnn_conv=Weights(conv, floats(10, 20))
    )
    found = ops.mask_logits("maskrcnn", Regions(floats([[[5]]], [[[7]]])), np.array([1, 2]), 1)
    assert found.tolist() == [[[10, 20], [10, 10]], [[20, 41], [20, 20]]]


def test_of_equal_scores_the_earlier_comes_first_and_the_rest_is_dropped() -> None:
    best, places = operations().top(floats([1, 3, 3]), 5)
    assert best.tolist() == [[3, 3, 1, DROPPED, DROPPED]]
    assert places.tolist() == [[1, 2, 0, 0, 0]]


def test_overlaps_with_what_was_suppressed_do_not_suppress() -> None:
    row = floats([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [3, 3, 3, 9], [3, 3, 3, 9]])
    scores = floats([0.9, 0.8, 0.7, 0.6, 0.5])
    suppress = operations().suppress
    assert np.isfinite(suppress(row, scores, 9, 0.4)).tolist() == [[True, False, True, True, True]]
    assert np.isfinite(suppress(row, scores, 2, 0.4)).tolist() == [
        [True, False, True, False, False]
    ]


def test_a_compacted_list_spreads_back() -> None:
    ops = operations()
    scores = floats([0.5, DROPPED], [0.25, 0.125])
    slots, (found, values) = ops.compact(scores, floats([1, 2], [3, 4]))
    assert found.tolist() == [0.5, 0.25, 0.125]
    assert values.tolist() == [1, 3, 4]
    assert slots.images.tolist() == [0, 1, 1]
    assert ops.spread(values, slots, -1.0).tolist() == [[1, -1], [3, 4]]


def test_deltas_move_and_stretch_anchors() -> None:
    deltas = floats([0, 0, 0, 0], [0.5, 0, math.log(2), 9])
    anchors = floats([10, 20, 20, 40], [10, 20, 20, 40])
    decoded = PixelFrame().decode(operations(), deltas, anchors, math.log(4))
    assert decoded == pytest.approx(floats([10, 20, 20, 40], [10, -10, 30, 70]))


def test_a_clamped_frame_shrinks_anchors_no_further_than_it_stretches_them() -> None:
    deltas, anchors = floats([0, 0, -9, 9]), floats([10, 20, 20, 40])
    decoded = ClampedFrame().decode(operations(), deltas, anchors, math.log(4))
    assert decoded == pytest.approx(floats([13.75, -10, 16.25, 70]))
    loose = PixelFrame().decode(operations(), deltas, anchors, math.log(4))
    assert loose[0, 2] - loose[0, 0] < 0.01


def test_a_box_without_area_has_a_region_of_zeros_if_samples_follow_its_size() -> None:
    boxes, images = floats([4, 4, 4, 12], [4, 4, 12, 12]), np.zeros(2, np.int64)
    maps, ops = [np.ones((1, 8, 8, 1), np.float32)], operations()
    for samples, wanted in ((0, [0, 1]), (2, [1, 1])):
        sampling = Sampling(samples=samples)
        seen = PixelFrame().sampled(ops, maps, [4], boxes, images, None, 1, sampling)
        assert seen.maps.ravel().tolist() == wanted
