"""Masks are pasted as by TensorFlow's operator in the original's function, to the last bit."""

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_network.reframed_masks import MIN_SIDE, ReframedMasks
from maskrcnn_server.rle import Size

SIZES = [(60, 90), (301, 200), (1, 1), (1, 40), (40, 1), (2, 3)]


def original(soft: np.ndarray, boxes: np.ndarray, size: Size) -> np.ndarray:
    """Bitmaps as CropAndResize makes them of the image's corners, relative to each box."""
    low, high = boxes[:, :2], boxes[:, 2:]
    side = np.maximum(high - low, MIN_SIDE)
    corners = np.concatenate([(0 - low) / side, (1 - low) / side], axis=1)
    indices = np.arange(len(boxes))
    pasted = tf.image.crop_and_resize(soft[..., None], corners, indices, size)
    return np.asarray(pasted)[..., 0] > 0.5


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("shape", [(15, 15), (33, 20), (1, 1)], ids=str)
def test_pixels_are_the_operators(size: Size, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    corners = random.uniform(-0.1, 1.1, (40, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    boxes[:4] = np.array(
        [[0, 0, 1, 1], [0.3, 0.3, 0.3, 0.9], [0, 0, 0, 0], [0.5, 0.5, 0.50001, 0.6]]
    )
    soft = random.uniform(0, 1, (40, *shape)).astype(np.float32)
    masks = ReframedMasks(soft, boxes, size)
    expected = original(soft, boxes, size)
    for order in ("rows", "columns"):
        bitmaps = np.stack([rle.bitmap() for rle in masks.rle(order)])
        np.testing.assert_array_equal(bitmaps, expected)


def test_masks_are_taken_in_order() -> None:
    soft = np.linspace(0.1, 1, 4, dtype=np.float32).reshape(4, 1, 1)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (4, 1))
    masks = ReframedMasks(soft, boxes, (5, 5), threshold=0.6).take(np.array([3, 0]))
    assert [rle.area for rle in masks.rle("rows")] == [25, 0]
    assert (len(masks), masks.size) == (2, (5, 5))
