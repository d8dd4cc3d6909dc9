import tracemalloc
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrcnn_server import pasting
from maskrcnn_server.masks import BitMasks, RoiMasks, RunLengthMasks
from maskrcnn_server.rle import RLE, Order, Size
from maskrcnn_server.stopwatch import listen

Box: TypeAlias = tuple[float, float, float, float]

SIZE: Size = (23, 31)

ORDERS: list[Order] = ["rows", "columns"]


def soft(m: int = 7, seed: int = 0) -> NDArray[np.float32]:
    return np.random.RandomState(seed).random_sample((m, m)).astype(np.float32)


def roi(
    mask: NDArray[np.float32], *boxes: Box, size: Size = SIZE, threshold: float = 0.5
) -> RoiMasks:
    """The same soft mask in each of the boxes."""
    n, m = len(boxes), len(mask)
    corners = np.array(boxes, np.float32).reshape(n, 4)
    return RoiMasks(np.broadcast_to(mask, (n, m, m)), corners, size, threshold)


def slowly_pasted(mask: NDArray[np.float32], box: Box, size: Size) -> NDArray[np.float64]:
    """Probabilities at the centres of the pixels, by what `RoiMasks` says of itself."""
    padded = np.pad(mask.astype(np.float64), 1)
    m, samples = len(mask), len(padded)
    x1, y1, x2, y2 = np.array(box, np.float32).tolist()
    pasted = np.zeros(size)
    if not (x2 > x1 and y2 > y1):
        return pasted
    scale = (m + 2) / m
    width, height = (x2 - x1) * scale, (y2 - y1) * scale
    left, top = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    for y in range(size[0]):
        for x in range(size[1]):
            column = (x + 0.5 - left) / width * samples - 0.5
            row = (y + 0.5 - top) / height * samples - 0.5
            if 0 <= column < samples - 1 and 0 <= row < samples - 1:
                i, j = int(row), int(column)
                v, u = row - i, column - j
                upper = padded[i, j] * (1 - u) + padded[i, j + 1] * u
                lower = padded[i + 1, j] * (1 - u) + padded[i + 1, j + 1] * u
                pasted[y, x] = upper * (1 - v) + lower * v
    return pasted


def assert_like_the_slow_way(
    mask: NDArray[np.float32], box: Box, size: Size = SIZE, threshold: float = 0.5
) -> None:
    expected = slowly_pasted(mask, box, size)
    clear = np.abs(expected - threshold) > 1e-4
    for order in ORDERS:
        (rle,) = roi(mask, box, size=size, threshold=threshold).rle(order)
        assert (rle.size, rle.order, rle.counts.sum()) == (size, order, size[0] * size[1])
        np.testing.assert_array_equal(rle.bitmap()[clear], (expected >= threshold)[clear])


def sides(pixels: int) -> st.SearchStrategy[tuple[float, float]]:
    """Low and high end along one axis: inside, beyond the image, below a pixel, or nothing."""
    low = st.floats(-10, pixels + 5, width=32)
    length = st.one_of(st.floats(0, 1, width=32), st.floats(0, pixels + 20, width=32))
    return st.tuples(low, length).map(lambda side: (side[0], side[0] + side[1]))


@settings(deadline=None, max_examples=100)
@given(sides(SIZE[1]), sides(SIZE[0]), st.sampled_from([1, 2, 7]), st.floats(0.05, 1))
def test_random_boxes_are_pasted_like_the_slow_way(
    across: tuple[float, float], along: tuple[float, float], m: int, threshold: float
) -> None:
    box = (across[0], along[0], across[1], along[1])
    assert_like_the_slow_way(soft(m), box, threshold=threshold)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0, 0, 31, 23), id="whole image"),
        pytest.param((3, 4, 20, 15), id="on pixel edges"),
        pytest.param((3.3, 4.6, 20.1, 15.9), id="between pixel edges"),
        pytest.param((-8, -6, 12, 9), id="beyond top left"),
        pytest.param((20, 12, 44, 30), id="beyond bottom right"),
        pytest.param((-40, -40, 80, 80), id="around the image"),
        pytest.param((40, 30, 50, 40), id="outside"),
        pytest.param((5.2, 6.2, 5.9, 6.9), id="inside a pixel, on its centre"),
        pytest.param((5.6, 6.6, 5.9, 6.9), id="inside a pixel, off its centre"),
        pytest.param((5, 0, 5.7, 23), id="thin"),
    ],
)
def test_boxes_are_pasted_like_the_slow_way(box: Box) -> None:
    assert_like_the_slow_way(soft(), box)


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)], ids=["1x40", "40x1", "1x1"])
def test_thin_images_are_pasted_like_the_slow_way(size: Size) -> None:
    assert_like_the_slow_way(np.ones((7, 7), np.float32), (0, 0, size[1], size[0]), size)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "box",
    [(5, 6, 5, 6), (5, 6, 5, 16), (5, 6, 15, 6), (5.5, 6.5, 5.5, 6.5)],
    ids=["point", "no width", "no height", "point on a centre"],
)
def test_a_box_without_area_has_an_empty_mask(box: Box, order: Order) -> None:
    (rle,) = roi(np.ones((7, 7), np.float32), box).rle(order)
    assert rle.counts.tolist() == [SIZE[0] * SIZE[1]]


@pytest.mark.parametrize("order", ORDERS)
def test_a_pixel_at_the_threshold_belongs_to_the_mask(order: Order) -> None:
    (rle,) = roi(np.full((1, 1), 0.25, np.float32), (0, 0, 1, 1), size=(1, 1), threshold=0.25).rle(
        order
    )
    assert rle.counts.tolist() == [0, 1]


def test_rows_of_a_mask_are_rows_of_its_box() -> None:
    top_right = np.zeros((2, 2), np.float32)
    top_right[0, 1] = 1
    (rle,) = roi(top_right, (0, 0, 20, 20), size=(20, 20)).rle("rows")
    ys, xs = np.nonzero(rle.bitmap())
    assert ys.max() < 10 <= xs.min()


@pytest.mark.parametrize("seed", range(5))
def test_rows_and_columns_describe_the_same_masks(seed: int) -> None:
    found = roi(soft(28, seed), (3, 4, 29, 20), (-5, 2, 12.5, 40), (0, 0, 31, 23))
    for rows, columns in zip(found.rle("rows"), found.rle("columns"), strict=True):
        np.testing.assert_array_equal(rows.bitmap(), columns.bitmap())


@pytest.mark.parametrize("order", ORDERS)
def test_no_instances_have_no_masks(order: Order) -> None:
    none = RoiMasks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), SIZE)
    assert len(none) == 0
    assert none.rle(order) == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("most", [1, 23 * 9 * 2, 31 * 9], ids=lambda most: f"{most} samples")
def test_some_masks_at_a_time_give_the_same_as_all(
    most: int, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = roi(soft(), (1, 2, 30, 20), (-9, -9, 50, 50), (3, 3, 9, 5))
    whole = found.rle(order)
    monkeypatch.setattr(pasting, "MAX_SAMPLES", most)
    for one, other in zip(whole, found.rle(order), strict=True):
        np.testing.assert_array_equal(one.counts, other.counts)


def test_a_mask_of_more_samples_than_that_is_whole() -> None:
    size = (60_000, 20)
    box = (-500, -60_000, 500, 120_000)
    assert size[0] * 9 > pasting.MAX_SAMPLES
    (rle,) = roi(np.ones((7, 7), np.float32), box, size=size).rle("rows")
    assert rle.counts.tolist() == [0, 60_000 * 20]


@pytest.mark.parametrize("order", ORDERS)
def test_memory_does_not_grow_with_instances_or_the_image(order: Order) -> None:
    """100 masks of 12 megapixels take less room than one of them would at a byte a pixel."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    disc = (1.2 - np.hypot(x, y)).clip(0, 1).astype(np.float32)
    found = roi(disc, *[(0, 0, 4000, 3000)] * 100, size=(3000, 4000))
    tracemalloc.start()
    try:
        rles = found.rle(order)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rles) == 100
    assert rles[0].area > 4_000_000
    assert peak < 3000 * 4000
    assert kept < 100 * 100_000


@pytest.mark.parametrize("shape", [(2, 7, 7), (1, 7, 6), (7, 7)], ids=str)
def test_soft_masks_are_square_and_one_for_each_box(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="for 1 boxes"):
        RoiMasks(np.zeros(shape, np.float32), np.zeros((1, 4), np.float32), SIZE)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_thresholds_are_more_than_0_and_at_most_1(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"mask threshold .*: more than 0, at most 1"):
        roi(soft(), (0, 0, 1, 1), threshold=threshold)


@pytest.mark.parametrize("order", ORDERS)
def test_bitmaps_come_back_as_they_are(order: Order) -> None:
    bitmaps = np.random.RandomState(0).random_sample((3, 5, 8)) < 0.5
    found = BitMasks(bitmaps)
    assert (len(found), found.size) == (3, (5, 8))
    rles = found.rle(order)
    assert [rle.order for rle in rles] == [order] * 3
    np.testing.assert_array_equal([rle.bitmap() for rle in rles], bitmaps)


def test_pasting_is_a_stage() -> None:
    with listen() as stopwatch:
        roi(soft(), (0, 0, 9, 9)).rle("rows")
    assert list(stopwatch.seconds) == ["paste"]


@pytest.mark.parametrize("order", ORDERS)
def test_some_of_the_masks_are_taken(order: Order) -> None:
    bitmaps = np.random.RandomState(0).random_sample((3, 5, 8)) < 0.5
    runs = RunLengthMasks(BitMasks(bitmaps).rle("rows"), (5, 8))
    for each in (BitMasks(bitmaps), runs):
        taken = each.take(np.array([2, 0]))
        assert (len(taken), taken.size) == (2, (5, 8))
        np.testing.assert_array_equal([m.bitmap() for m in taken.rle(order)], bitmaps[[2, 0]])


def test_soft_masks_that_are_taken_stay_soft() -> None:
    three = roi(soft(), (0, 0, 9, 9), (1, 1, 5, 5), (2, 2, 9, 9))
    taken = three.take(np.array([1]))
    assert taken.boxes.tolist() == [[1, 1, 5, 5]]
    assert taken.rle("rows")[0].counts.tolist() == three.rle("rows")[1].counts.tolist()


def test_run_lengths_are_given_in_either_order() -> None:
    bitmaps = np.zeros((2, 3, 4), np.bool_)
    bitmaps[0, 1, 1:3] = bitmaps[1, :, 0] = True
    columns = tuple(BitMasks(bitmaps).rle("columns"))
    masks = RunLengthMasks(columns, (3, 4))
    assert (len(masks), masks.size) == (2, (3, 4))
    assert masks.rle("columns") == list(columns)
    for mask, bitmap in zip(masks.rle("rows"), bitmaps, strict=True):
        assert mask.order == "rows"
        np.testing.assert_array_equal(mask.bitmap(), bitmap)


@pytest.mark.parametrize(
    "mask",
    [
        RLE(np.array([11]), (3, 4), "rows"),
        RLE(np.array([-1, 13]), (3, 4), "rows"),
        RLE(np.array([12]), (4, 3), "rows"),
    ],
    ids=["too few pixels", "a negative run", "another size"],
)
def test_run_lengths_of_another_size_are_refused(mask: RLE) -> None:
    with pytest.raises(ValueError, match="3 x 4"):
        RunLengthMasks((mask,), (3, 4))
