"""Merging what tiles show, with a model that sees everything, and with ones that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import RequestError
from maskrcnn_server.masks import BitMasks
from maskrcnn_tiles.grid import Grid, Tile
from maskrcnn_tiles.merging import Merger
from maskrcnn_tiles.part import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from maskrcnn_tiles.instances import Instance

Shape = tuple[int, "NDArray[np.bool_]"]
"""A category and a mask of the whole image."""
SIZE = 300, 260


def ellipse(y: float, x: float, height: float, width: float) -> NDArray[np.bool_]:
    """A filled ellipse around (y, x) in an image of `SIZE`."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    filled: NDArray[np.bool_] = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1
    return filled


def seen(
    tile: Tile, shapes: Sequence[Shape], score: Callable[[Tile, int], float] = lambda *_: 0.9
) -> Detections:
    """What a faultless model detects in a tile; shapes that score 0 are overlooked."""
    masks, scores, categories = [], [], []
    for number, (category, mask) in enumerate(shapes):
        part = mask[tile.y : tile.bottom, tile.x : tile.right]
        value = score(tile, number)
        if part.any() and value:
            masks.append(part)
            scores.append(value)
            categories.append(category)
    order = np.argsort(scores)[::-1]
    bitmaps = np.array(masks, np.bool_).reshape(-1, tile.height, tile.width)[order]
    return Detections(
        size=(tile.height, tile.width),
        boxes=np.zeros((len(scores), 4), np.float32),
        scores=np.array(scores, np.float32)[order],
        category_ids=np.array(categories, np.int64)[order],
        masks=BitMasks(bitmaps),
    )


def merged(grid: Grid, see: Callable[[Tile], Detections], *, early: bool = True) -> list[Instance]:
    """Instances of an image whose tiles show what `see` says."""
    merger, row = Merger(grid), 0
    found: list[Instance] = []
    for tile in grid:
        if early and tile.y != row:
            found += merger.settled(tile.y)
            row = tile.y
        merger.add(parts(grid, tile, see(tile)))
    return [*found, *merger.settled()]


def whole(instance: Instance) -> NDArray[np.bool_]:
    """The mask in the whole image."""
    mask = np.zeros(SIZE, np.bool_)
    place = instance.place
    mask[place.y : place.bottom, place.x : place.right] = instance.bitmap()
    return mask


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("early", [True, False])
def test_what_a_faultless_model_sees_is_put_together_exactly(seed: int, early: bool) -> None:
    random = np.random.default_rng(seed)
    shapes: list[Shape] = []
    free = np.ones(SIZE, np.bool_)
    while len(shapes) < 12:
        center = random.uniform((0, 0), SIZE)
        mask = ellipse(*center, *random.uniform(6, 60, 2))
        if mask.any() and free[mask].all():
            shapes.append((int(random.integers(1, 4)), mask))
            # Shapes keep a distance: a model would tell those that touch apart, this one too.
            free &= ~mask
    grid = Grid(SIZE, (96, 80), 0.25)
    found = merged(grid, lambda tile: seen(tile, shapes), early=early)
    expected = {(category, mask.tobytes()) for category, mask in shapes}
    assert {(one.category_id, whole(one).tobytes()) for one in found} == expected
    assert len(found) == len(shapes)
    assert all(one.score == pytest.approx(0.9) for one in found)


def test_a_false_detection_in_one_of_four_tiles_loses_score() -> None:
    grid = Grid(SIZE, (100, 100), 0.5)
    spot = ellipse(150, 130, 4, 4)
    place = Tile(146, 126, 9, 9)
    showing = grid.showing(place)
    assert len(showing) > 2
    found = merged(
        grid,
        lambda tile: seen(tile, [(1, spot)], lambda t, _: 0.8 * (t == showing[0])),
    )
    (instance,) = found
    assert 0 < instance.score < 0.5


def test_a_cut_part_that_another_tile_shows_to_be_nothing_is_left_out() -> None:
    grid = Grid(SIZE, (100, 260), 0.5)
    first, second, *_ = grid
    bar = np.zeros(SIZE, np.bool_)
    bar[first.bottom - 8 : first.bottom, 40:60] = True
    found = merged(grid, lambda tile: seen(tile, [(1, bar)], lambda t, _: 0.9 * (t == first)))
    assert second.common(Tile(first.bottom - 8, 40, 8, 20)) is not None
    assert found == []


def test_parts_of_different_categories_are_one_instance_of_the_larger_ones() -> None:
    grid = Grid(SIZE, (100, 260), 0.2)
    tall = ellipse(95, 130, 90, 30)
    categories = iter([3, 1, 1, 1])
    found = merged(grid, lambda tile: seen(tile, [(next(categories), tall)]))
    (instance,) = found
    assert instance.category_id == 1
    assert (whole(instance) == tall).all()


def test_an_unlikely_instance_does_not_explain_what_every_tile_cuts() -> None:
    grid = Grid(SIZE, (100, 260), 0.2)
    bar, phantom = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    bar[60:130, 40:60] = True
    phantom[70:98, 40:60] = True
    found = merged(
        grid, lambda tile: seen(tile, [(1, bar), (2, phantom)], lambda _, i: (0.9, 0.1)[i])
    )
    best = max(found, key=lambda one: one.score)
    assert (whole(best) == bar).all()
    assert best.score == pytest.approx(0.9)


def test_what_a_tile_finds_twice_and_its_neighbour_once_is_one_instance() -> None:
    grid = Grid(SIZE, (100, 260), 0.5)
    spot, larger = ellipse(75, 130, 10, 10), ellipse(75, 130, 10, 15)
    twice = grid.showing(Tile(65, 115, 21, 31))[0]

    def score(tile: Tile, number: int) -> float:
        return 0.9 - 0.1 * number if number == 0 or tile == twice else 0

    (instance,) = merged(grid, lambda tile: seen(tile, [(1, spot), (1, larger)], score))
    assert (whole(instance) == spot).all()


def test_a_cut_part_that_another_tile_confirms_keeps_its_score() -> None:
    grid = Grid(SIZE, (100, 260), 0.5)
    first, second, *_ = grid
    bar, less = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    bar[40:100, 40:60] = True
    less[second.y + 1 : 90, 40:60] = True

    def score(tile: Tile, number: int) -> float:
        return 0.8 * (tile == (first, second)[number])

    (instance,) = merged(grid, lambda tile: seen(tile, [(1, bar), (1, less)], score))
    assert instance.score == pytest.approx(0.8)
    (alone,) = merged(grid, lambda tile: seen(tile, [(1, bar)], score))
    assert alone.score == pytest.approx(0.4)


def test_touching_instances_stay_apart() -> None:
    grid = Grid(SIZE, (100, 260), 0.3)
    left, right = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    left[20:200, 50:80] = True
    right[20:200, 80:110] = True
    found = merged(grid, lambda tile: seen(tile, [(1, left), (1, right)]))
    assert {whole(one).tobytes() for one in found} == {left.tobytes(), right.tobytes()}


def test_what_is_not_settled_has_a_limit_and_what_is_settled_counts_no_more() -> None:
    grid = Grid(SIZE, (100, 100), 0.5)
    merger = Merger(grid, 1 << 20)

    def add(mask: NDArray[np.bool_], count: int) -> None:
        for tile in grid:
            merger.add(parts(grid, tile, seen(tile, [(1, mask)] * count)))

    add(ellipse(50, 50, 20, 20), 10)
    assert merger._bytes > 0
    assert list(merger.settled())
    assert merger._bytes == 0
    with pytest.raises(RequestError, match="more than 1 MiB"):
        add(ellipse(150, 130, 140, 120), 20)


def test_a_ribbon_through_hundreds_of_tiles_is_one_instance() -> None:
    grid = Grid((64, 32 * 300), (64, 64), 0.5)
    merger = Merger(grid)
    for tile in grid:
        bar = np.zeros((1, tile.height, tile.width), np.bool_)
        bar[0, 20:40] = True
        found = Detections(
            size=(tile.height, tile.width),
            boxes=np.zeros((1, 4), np.float32),
            scores=np.ones(1, np.float32),
            category_ids=np.ones(1, np.int64),
            masks=BitMasks(bar),
        )
        merger.add(parts(grid, tile, found))
    (instance,) = merger.settled()
    assert instance.place == Tile(20, 0, 20, 32 * 300)
    assert instance.bitmap().all()


def test_an_overview_gives_only_what_no_tile_shows_whole() -> None:
    grid = Grid(SIZE, (80, 80), 0.25)
    large, small = ellipse(150, 130, 100, 100), ellipse(20, 20, 8, 8)
    merger = Merger(grid)
    everything = Tile(0, 0, *SIZE)
    merger.add(parts(grid, everything, seen(everything, [(1, large), (2, small)])))
    for tile in grid:
        merger.add(parts(grid, tile, seen(tile, [(1, large)])))
    (instance,) = merger.settled()
    assert (whole(instance) == large).all()
    assert instance.category_id == 1


def test_an_overview_that_was_made_smaller_is_scaled_to_the_image() -> None:
    grid = Grid(SIZE, (80, 80), 0.25)
    large = ellipse(150, 130, 100, 100)
    small = Tile(0, 0, SIZE[0] // 2, SIZE[1] // 2)
    halved = seen(small, [(1, large[::2, ::2])])
    (part,) = parts(grid, Tile(0, 0, *SIZE), halved)
    mask = np.zeros(SIZE, np.bool_)
    place = part.place
    mask[place.y : place.bottom, place.x : place.right] = part.bitmap()
    assert (mask & large).sum() / (mask | large).sum() > 0.98


def test_detections_without_masks_cannot_be_merged() -> None:
    grid = Grid(SIZE, (80, 80), 0.25)
    tile = next(iter(grid))
    detections = Detections(
        size=(80, 80),
        boxes=np.zeros((1, 4), np.float32),
        scores=np.ones(1, np.float32),
        category_ids=np.ones(1, np.int64),
    )
    with pytest.raises(ValueError, match="masks"):
        list(parts(grid, tile, detections))
