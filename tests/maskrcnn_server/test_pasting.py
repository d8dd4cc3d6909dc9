"""The oracle computes every pixel of every mask."""

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.rle import Order, Size, encode

SIZE: Size = (180, 240)


def weights(low: float, high: float, pixels: int, m: int) -> NDArray[np.float32]:
    """Weights (pixels, m) of the samples at the centres of pixels along one axis."""
    spacing = (high - low) / m
    if spacing <= 0:
        return np.zeros((pixels, m), np.float32)
    place = (np.arange(pixels) + 0.5 - low) / spacing - 0.5
    distance = np.abs(place[:, None] - np.arange(m))
    return np.asarray(np.maximum(1 - distance, 0), np.float32)


def bitmap(masks: RoiMasks, i: int) -> NDArray[np.bool_]:
    m = masks.probabilities.shape[-1]
    x1, y1, x2, y2 = masks.boxes[i].tolist()
    rows, columns = weights(y1, y2, masks.size[0], m), weights(x1, x2, masks.size[1], m)
    return np.asarray(rows @ masks.probabilities[i] @ columns.T >= masks.threshold)


def found(seed: int, m: int, *, smooth: bool) -> RoiMasks:
    """Masks in boxes inside the image and beyond it, smaller than a pixel, and without area."""
    random = np.random.RandomState(seed)
    centres = random.uniform(-10, [SIZE[1] + 10, SIZE[0] + 10], (40, 2))
    half = np.exp(random.normal(3, 1.2, (40, 2)))
    half[:3, 0] = 0
    boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
    soft = random.random_sample((40, m, m))
    if smooth:
        y, x = np.mgrid[-1 : 1 : m * 1j, -1 : 1 : m * 1j]
        soft = 1 / (1 + np.exp(5 * (np.hypot(x, y) - random.uniform(0.3, 1.3, (40, 1, 1)))))
    return RoiMasks(soft.astype(np.float32), boxes, SIZE, float(random.uniform(0.2, 0.8)))


@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "noise"])
@pytest.mark.parametrize(("seed", "m"), [(0, 28), (1, 28), (2, 14), (3, 1), (4, 56)])
def test_many_masks_together_have_every_pixel(
    order: Order, smooth: bool, seed: int, m: int
) -> None:
    masks = found(seed, m, smooth=smooth)
    for i, rle in enumerate(masks.rle(order)):
        expected = encode(bitmap(masks, i), order)
        np.testing.assert_array_equal(rle.counts, expected.counts, err_msg=f"mask {i}")


def test_a_mask_does_not_touch_the_next() -> None:
    whole = np.array([[0, 0, 4, 3], [0, 0, 4, 3]], np.float32)
    masks = RoiMasks(np.ones((2, 7, 7), np.float32), whole, (3, 4))
    assert [rle.counts.tolist() for rle in masks.rle("rows")] == [[0, 12], [0, 12]]
