"""The tiles of an image."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_tiles.grid import Grid, Tile, number_of_tiles


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(16, 90), st.integers(16, 90)),
    st.floats(0, 0.8),
)
def test_tiles_cover_the_image_and_share_what_they_should(
    size: tuple[int, int], tile: tuple[int, int], overlap: float
) -> None:
    grid = Grid(size, tile, overlap)
    covered = np.zeros(size, np.int32)
    tiles = list(grid)
    assert len(tiles) == len(grid) == number_of_tiles(size, tile, overlap)
    for one in tiles:
        assert Tile(0, 0, *size).common(one) == one
        covered[one.y : one.bottom, one.x : one.right] += 1
    assert covered.all()
    rows = sorted({one.y for one in tiles})
    for above, below in pairwise(rows):
        assert above + grid.tile[0] - below >= np.floor(overlap * tile[0]) - 1


def test_an_image_smaller_than_a_tile_is_one_tile() -> None:
    assert list(Grid((30, 40), (100, 100), 0.2)) == [Tile(0, 0, 30, 40)]


def test_borders_of_the_image_cut_nothing() -> None:
    grid = Grid((100, 300), (100, 100), 0)
    first, second, _ = grid
    assert not grid.cuts(first, Tile(0, 0, 100, 50))
    assert grid.cuts(first, Tile(10, 60, 10, 40))
    assert grid.cuts(second, Tile(10, second.x, 10, 40))


@pytest.mark.parametrize(
    "place", [Tile(40, 40, 10, 10), Tile(0, 0, 200, 200), Tile(190, 0, 10, 30)]
)
def test_around_and_showing_agree_with_looking_at_every_tile(place: Tile) -> None:
    grid = Grid((200, 200), (64, 64), 0.4)
    assert set(grid.around(place)) == {t for t in grid if t.common(place)}
    assert set(grid.showing(place)) == {
        t for t in grid if t.common(place) == place and not grid.cuts(t, place)
    }
