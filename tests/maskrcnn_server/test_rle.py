"""pycocotools is the oracle: it is what reads our run lengths."""

import tracemalloc
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from maskrcnn_server.rle import (
    MAX_RUNS,
    RLE,
    Order,
    compressed,
    edges,
    encode,
    from_borders,
    from_compressed,
    from_counts,
    from_edges,
)

Bitmap: TypeAlias = NDArray[np.bool_]

ORDERS: list[Order] = ["rows", "columns"]


def speckled(height: int, width: int, density: float, seed: int) -> Bitmap:
    return np.random.RandomState(seed).random_sample((height, width)) < density


bitmaps = st.one_of(
    arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.builds(
        speckled,
        st.integers(1, 70),
        st.integers(1, 70),
        st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
        st.integers(0, 2**32 - 1),
    ),
)

quick = settings(deadline=None, max_examples=150)


def block(height: int, width: int, top: int, left: int) -> Bitmap:
    """Ones from (top, left) to the middle."""
    bitmap = np.zeros((height, width), np.bool_)
    bitmap[top : height // 2, left : width // 2] = True
    return bitmap


SHAPES = [
    pytest.param(np.zeros((1, 1), np.bool_), id="one pixel of 0"),
    pytest.param(np.ones((1, 1), np.bool_), id="one pixel of 1"),
    pytest.param(np.zeros((7, 5), np.bool_), id="all zeros"),
    pytest.param(np.ones((7, 5), np.bool_), id="all ones"),
    pytest.param(speckled(1, 40, 0.5, 0), id="one row"),
    pytest.param(speckled(40, 1, 0.5, 0), id="one column"),
    pytest.param(np.zeros((3000, 4000), np.bool_), id="12 megapixels of zeros"),
    pytest.param(block(1500, 2000, 0, 0), id="block in the corner"),
    pytest.param(block(1500, 2000, 700, 990), id="long runs, then short ones"),
]


def assert_coco_agrees(bitmap: Bitmap) -> None:
    height, width = bitmap.shape
    expected = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    rle = encode(bitmap, "columns")
    plain = {"counts": rle.counts.tolist(), "size": [height, width]}
    assert coco.frPyObjects(plain, height, width) == expected
    assert rle.compressed() == expected["counts"].decode("ascii")
    assert rle.area == coco.area(expected)


@quick
@given(bitmaps)
def test_coco_agrees_on_any_mask(bitmap: Bitmap) -> None:
    assert_coco_agrees(bitmap)


@pytest.mark.parametrize("bitmap", SHAPES)
def test_coco_agrees_on_extreme_masks(bitmap: Bitmap) -> None:
    assert_coco_agrees(bitmap)


@pytest.mark.parametrize("order", ORDERS)
@quick
@given(bitmap=bitmaps)
def test_any_mask_survives_the_round_trip(order: Order, bitmap: Bitmap) -> None:
    back = encode(bitmap, order).bitmap()
    assert back.dtype == np.bool_
    np.testing.assert_array_equal(back, bitmap)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bitmap", SHAPES)
def test_extreme_masks_survive_the_round_trip(order: Order, bitmap: Bitmap) -> None:
    np.testing.assert_array_equal(encode(bitmap, order).bitmap(), bitmap)


@pytest.mark.parametrize("order", ORDERS)
@quick
@given(bitmap=bitmaps)
def test_runs_keep_their_promises(order: Order, bitmap: Bitmap) -> None:
    rle = encode(bitmap, order)
    assert rle.size == bitmap.shape
    assert rle.order == order
    assert rle.counts.dtype == np.int64
    assert rle.counts.sum() == bitmap.size, "runs sum to height * width"
    assert (rle.counts[1:] > 0).all(), "only the first run may be zero"
    assert (rle.counts[0] == 0) == bitmap[0, 0], "runs begin with zeros"
    assert rle.area == bitmap.sum()


@quick
@given(bitmaps)
def test_columns_are_the_rows_of_the_transposed_mask(bitmap: Bitmap) -> None:
    columns, rows = encode(bitmap, "columns"), encode(bitmap.T, "rows")
    np.testing.assert_array_equal(columns.counts, rows.counts)


@pytest.mark.parametrize(
    ("order", "counts"),
    [pytest.param("rows", [1, 2, 3], id="rows"), pytest.param("columns", [2, 1, 1, 1, 1], id="c")],
)
def test_orders_read_the_mask_differently(order: Order, counts: list[int]) -> None:
    bitmap = np.array([[0, 1, 1], [0, 0, 0]], np.bool_)
    assert encode(bitmap, order).counts.tolist() == counts


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        pytest.param([15], "?", id="last run of one group"),
        pytest.param([16], "`0", id="first run of two groups"),
        pytest.param([0, 1, 1, 100, 2, 1], None, id="negative difference"),
        pytest.param([5, 2**9, 2**14, 2**19, 2**24, 1, 2**9], None, id="groups of every length"),
    ],
)
def test_compressed_text_is_cocos(counts: list[int], text: str | None) -> None:
    size = (1, sum(counts))
    rle = RLE(np.array(counts, np.int64), size, "columns")
    oracle = coco.frPyObjects({"counts": counts, "size": list(size)}, *size)["counts"]
    assert rle.compressed() == oracle.decode("ascii")
    assert text is None or rle.compressed() == text


def test_masks_are_compressed_together_as_alone() -> None:
    counts = [[12], [0, 12], [3, 4, 5], [1, 1, 1, 9], [0, 5, 2, 3, 2], [100_000], []]
    masks = [RLE(np.array(c, np.int64), (1, sum(c)), "columns") for c in counts]
    assert compressed(masks) == [mask.compressed() for mask in masks]
    assert compressed([]) == []


def test_edges_of_a_window_are_positions_in_the_whole_mask() -> None:
    window = np.array([[1, 0, 1], [0, 1, 1]], np.bool_)
    assert edges(window, (2, 4), 10).tolist() == [[24, 25], [26, 27], [35, 37]]


def test_runs_that_touch_become_one() -> None:
    pieces = [np.array([[2, 4], [4, 8]], np.int64), np.array([[8, 9], [10, 12]], np.int64)]
    assert from_edges(pieces, (3, 4), "rows").counts.tolist() == [2, 7, 1, 2]


def test_borders_at_one_position_cancel_each_other() -> None:
    borders = np.array([2, 2, 3, 5, 5, 7, 7, 7, 0, 12], np.int64)
    masks = np.array([0] * 8 + [3] * 2)
    counts = [mask.counts.tolist() for mask in from_borders(borders, masks, 5, (3, 4), "rows")]
    assert counts == [[3, 4, 5], [12], [12], [0, 12], [12]]


def test_no_runs_make_an_empty_mask() -> None:
    assert from_edges([], (3, 4), "rows").counts.tolist() == [12]


@pytest.mark.parametrize("order", ORDERS)
@quick
@given(bitmap=bitmaps)
def test_a_window_holds_every_pixel_of_the_mask_and_no_line_more(
    order: Order, bitmap: Bitmap
) -> None:
    y, x, inside = encode(bitmap, order).window()
    height, width = inside.shape
    again = np.zeros_like(bitmap)
    again[y : y + height, x : x + width] = inside
    np.testing.assert_array_equal(again, bitmap)
    if bitmap.any():
        lines = inside if order == "rows" else inside.T
        assert lines[0].any()
        assert lines[-1].any()


@pytest.mark.parametrize("order", ORDERS)
def test_a_window_is_as_small_as_can_be(order: Order) -> None:
    bitmap = np.zeros((9, 12), np.bool_)
    bitmap[2:5, 3:10] = True
    y, x, inside = encode(bitmap, order).window()
    assert (y, x, inside.shape) == (2, 3, (3, 7))


@quick
@given(bitmaps)
def test_runs_in_one_order_become_those_in_the_other(bitmap: Bitmap) -> None:
    rows, columns = encode(bitmap, "rows"), encode(bitmap, "columns")
    np.testing.assert_array_equal(rows.to("columns").counts, columns.counts)
    np.testing.assert_array_equal(columns.to("rows").counts, rows.counts)
    assert rows.to("rows") is rows


@quick
@given(bitmaps)
def test_cocos_text_is_read_as_pycocotools_writes_it(bitmap: Bitmap) -> None:
    text = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode("ascii")
    read = from_compressed(text, (bitmap.shape[0], bitmap.shape[1]))
    np.testing.assert_array_equal(read.counts, encode(bitmap, "columns").counts)
    assert read.counts.dtype == np.int64
    assert read.order == "columns"


@pytest.mark.parametrize("bitmap", SHAPES)
def test_cocos_text_of_extreme_masks_survives_the_round_trip(bitmap: Bitmap) -> None:
    text = encode(bitmap, "columns").compressed()
    np.testing.assert_array_equal(from_compressed(text, bitmap.shape).bitmap(), bitmap)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("1 2", id="a space"),
        pytest.param("\u00e9", id="beyond ASCII"),
        pytest.param("o", id="a number that does not end"),
        pytest.param("o" * 8 + "0", id="a number of nine characters"),
        pytest.param("oooooo_0", id="a number beyond the mask"),
        pytest.param("1", id="too few pixels"),
        pytest.param("`0", id="too many pixels"),
        pytest.param("@", id="a negative run"),
        pytest.param("50:", id="a run of zero pixels"),
    ],
)
def test_what_is_no_mask_of_this_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        from_compressed(text, (3, 5))


@quick
@given(st.text(max_size=30))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    try:
        read = from_compressed(text, (6, 7))
    except ValueError:
        return
    assert read.bitmap().shape == (6, 7)


@pytest.mark.parametrize("order", ORDERS)
@quick
@given(bitmap=bitmaps)
def test_counts_of_anybody_are_read(order: Order, bitmap: Bitmap) -> None:
    flat = bitmap.ravel() if order == "rows" else bitmap.T.ravel()
    scattered = [n for value in flat for n in ((0, 1) if value else (1, 0))]
    read = from_counts(scattered, (bitmap.shape[0], bitmap.shape[1]), order)
    np.testing.assert_array_equal(read.counts, encode(bitmap, order).counts)


@pytest.mark.parametrize("counts", [[], [5], [13], [-1, 13], [12, -1, 1], [10**30]])
def test_counts_that_do_not_fit_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="which is 12"):
        from_counts(counts, (3, 4), "rows")


@pytest.mark.parametrize("order", ORDERS)
@quick
@given(bitmap=bitmaps, seed=st.integers(0, 2**32 - 1))
def test_intersection_counts_the_pixels_in_both(order: Order, bitmap: Bitmap, seed: int) -> None:
    height, width = bitmap.shape
    other = speckled(height, width, 0.5, seed)
    found = encode(bitmap, order).intersection(encode(other, order))
    assert found == (bitmap & other).sum()


def test_masks_that_cannot_be_laid_over_each_other_have_no_intersection() -> None:
    mask = encode(np.ones((2, 3), np.bool_), "rows")
    with pytest.raises(ValueError, match="masks of"):
        mask.intersection(encode(np.ones((2, 3), np.bool_), "columns"))


def test_many_masks_are_written_in_little_memory() -> None:
    random = np.random.default_rng(1)
    masks = [encode(random.random((40, 40)) < 0.5, "columns") for _ in range(1600)]
    runs = sum(len(mask.counts) for mask in masks)
    assert runs > 8 * MAX_RUNS
    tracemalloc.start()
    try:
        texts = compressed(masks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert texts == [mask.compressed() for mask in masks]
    assert peak < 150 * MAX_RUNS
