"""Outlines against the bitmaps they were made of."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from maskrcnn_annotation_formats.outlines import SMALL, Part, Ring, joined, parts, without_holes
from maskrcnn_server.rle import Order, encode

Bitmap = NDArray[np.bool_]

quick = settings(max_examples=60, deadline=None)
sizes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=14)
bitmaps = arrays.arrays(np.bool_, sizes)


@st.composite
def blobs(draw: Callable[[st.SearchStrategy[int]], int]) -> Bitmap:
    """What networks answer: smooth shapes, large enough that points are left out."""
    seed = draw(st.integers(0, 2**32 - 1))
    coarse = np.random.default_rng(seed).random((7, 8)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (130, 110), interpolation=cv2.INTER_CUBIC) > 0.55)


def drawn(text: str) -> Bitmap:
    return np.array([[c == "#" for c in line] for line in text.split()], np.bool_)


def shape_of(found: list[Part]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([shapely.Polygon(p.exterior, p.holes) for p in found])


def centres_inside(geometry: shapely.Geometry, bitmap: Bitmap) -> Bitmap:
    y, x = np.indices(bitmap.shape)
    return np.asarray(shapely.contains_xy(geometry, x + 0.5, y + 0.5))


def filled(rings: list[Ring], bitmap: Bitmap) -> Bitmap:
    """As OpenCV fills polygons, one after the other."""
    canvas = np.zeros(bitmap.shape, np.uint8)
    for ring in rings:
        cv2.fillPoly(canvas, [ring.astype(np.int32)], 1)
    return canvas > 0


@quick
@given(bitmaps)
def test_a_small_outline_is_exact_and_valid(bitmap: Bitmap) -> None:
    shape = shape_of(parts(encode(bitmap, "rows")))
    assert shape.is_valid, shapely.is_valid_reason(shape)
    assert shape.area == bitmap.sum()
    np.testing.assert_array_equal(centres_inside(shape, bitmap), bitmap)


@settings(max_examples=15, deadline=None)
@given(blobs())
def test_a_large_outline_has_fewer_points_and_keeps_every_pixel(bitmap: Bitmap) -> None:
    found = parts(encode(bitmap, "rows"))
    shape = shape_of(found)
    assert shape.is_valid, shapely.is_valid_reason(shape)
    np.testing.assert_array_equal(centres_inside(shape, bitmap), bitmap)
    if bitmap.sum() > SMALL:
        framed = np.pad(bitmap, 1)
        sides = sum((framed ^ np.roll(framed, 1, axis)).sum() for axis in (0, 1))
        assert shapely.get_num_coordinates(shape) < 0.6 * sides


@pytest.mark.parametrize("order", ["rows", "columns"])
@quick
@given(bitmap=bitmaps)
def test_opencv_fills_an_outline_through_pixels_to_the_mask(order: Order, bitmap: Bitmap) -> None:
    rings = [without_holes(part) for part in parts(encode(bitmap, order), "through")]
    np.testing.assert_array_equal(filled(rings, bitmap), bitmap)


@settings(max_examples=15, deadline=None)
@given(blobs())
def test_opencv_fills_a_large_outline_through_pixels_to_nearly_the_mask(bitmap: Bitmap) -> None:
    rings = [without_holes(part) for part in parts(encode(bitmap, "rows"), "through")]
    again = filled(rings, bitmap)
    assert (again & bitmap).sum() >= 0.99 * (again | bitmap).sum()


@quick
@given(bitmaps)
def test_a_cut_into_the_holes_leaves_the_area(bitmap: Bitmap) -> None:
    for part in parts(encode(bitmap, "rows")):
        ring = without_holes(part)
        x, y = ring.T
        area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
        assert area == shapely.Polygon(part.exterior, part.holes).area


@pytest.mark.parametrize(
    ("text", "holes"),
    [
        ("#", [0]),
        ("##. .##", [0]),
        ("#.. .#. ..#", [0, 0, 0]),
        ("### #.# ###", [1]),
        ("### #.# ##.", [1]),
        ("##### #.#.# #####", [2]),
        ("##### #...# #.#.# #...# #####", [1, 0]),
        ("##### #.### ##.## #####", [2]),
    ],
    ids=["pixel", "step", "diagonal", "ring", "open ring", "two holes", "island", "holes touch"],
)
def test_parts_and_holes_are_told_apart(text: str, holes: list[int]) -> None:
    found = parts(encode(drawn(text), "rows"))
    assert [len(part.holes) for part in found] == holes
    assert shape_of(found).is_valid
    assert shape_of(found).area == drawn(text).sum()


def test_a_hole_belongs_to_the_part_around_it() -> None:
    """Left of the right ring's hole is its own wall, left of that another ring."""
    found = parts(encode(drawn("###.### #.#.#.# ###.###"), "rows"))
    assert [part.holes[0].min(0).tolist() for part in found] == [[1, 1], [5, 1]]


def test_coordinates_are_those_of_the_image() -> None:
    bitmap = np.zeros((20, 30), np.bool_)
    bitmap[5:9, 10:30] = True
    (part,) = parts(encode(bitmap, "rows"))
    assert part.exterior.tolist() == [[10, 5], [30, 5], [30, 9], [10, 9]]


def test_exteriors_and_holes_run_in_opposite_directions() -> None:
    (part,) = parts(encode(drawn("### #.# ###"), "rows"))
    assert shapely.LinearRing(part.exterior).is_ccw
    assert not shapely.LinearRing(part.holes[0]).is_ccw


def test_an_empty_mask_has_no_outline() -> None:
    assert parts(encode(np.zeros((3, 4), np.bool_), "rows")) == []


def test_rings_are_joined_by_a_way_there_and_back() -> None:
    one = np.array([[0, 0], [2, 0], [2, 2], [0, 2.0]])
    other = one + np.array([4, 0])
    assert joined(one, other).tolist() == [
        *[[0, 0], [2, 0]],
        *[[4, 0], [6, 0], [6, 2], [4, 2], [4, 0]],
        *[[2, 0], [2, 2], [0, 2]],
    ]


def test_outlines_need_no_other_library() -> None:
    source = Path(parts.__code__.co_filename).read_text()
    assert "cv2" not in source
    assert "shapely" not in source
