"""What a model found of an instance in one tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from maskrcnn_tiles.grid import Tile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from maskrcnn_server.detections import Detections
    from maskrcnn_tiles.grid import Grid

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the whole image."""


@dataclass(frozen=True, eq=False)
class Part:
    """An instance as seen in one tile, in coordinates of the whole image."""

    tile: Tile
    place: Tile
    """The smallest rectangle around the mask."""
    bits: NDArray[np.uint8]
    """The mask in `place`, packed: a bitmap takes eight times the memory."""
    area: int
    score: float
    category_id: int
    box: Box
    is_cut: bool
    """Whether the mask reaches a border of its tile that is not one of the image."""

    def bitmap(self, within: Tile | None = None) -> NDArray[np.bool_]:
        """The mask in a rectangle inside `place`, by default in all of it: bool (height, width)."""
        shape = self.place.height, self.place.width
        whole = np.unpackbits(self.bits, count=shape[0] * shape[1]).reshape(shape).view(np.bool_)
        if within is None:
            return whole
        y, x = within.y - self.place.y, within.x - self.place.x
        return whole[y : y + within.height, x : x + within.width]

    def pixels(self, within: Tile) -> int:
        """Number of the mask's pixels in a rectangle."""
        common = self.place.common(within)
        return 0 if common is None else int(np.count_nonzero(self.bitmap(common)))


def parts(grid: Grid, tile: Tile, detections: Detections) -> Iterator[Part]:
    """What was detected in a tile. Detections without a pixel are left out.

    Detections of another size than the tile's, of an image made smaller, are scaled. Raises
    ValueError for detections without masks.
    """
    if detections.masks is None:
        raise ValueError("instances in tiles are merged by their masks, and these have none")
    down, across = tile.height / detections.size[0], tile.width / detections.size[1]
    boxes = detections.boxes * (across, down, across, down) + (tile.x, tile.y, tile.x, tile.y)
    for i, run in enumerate(detections.masks.rle("rows")):
        y, x, bitmap = run.window()
        if not bitmap.size:
            continue
        if detections.size != (tile.height, tile.width):
            y, x, bitmap = _scaled(y, x, bitmap, detections.size, tile)
        place = Tile(tile.y + y, tile.x + x, *bitmap.shape)
        yield Part(
            tile,
            place,
            np.packbits(bitmap),
            int(np.count_nonzero(bitmap)),
            float(detections.scores[i]),
            int(detections.category_ids[i]),
            _box(boxes[i]),
            grid.cuts(tile, place),
        )


def _box(values: NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = values.tolist()
    return x1, y1, x2, y2


def _scaled(
    y: int, x: int, bitmap: NDArray[np.bool_], size: tuple[int, int], tile: Tile
) -> tuple[int, int, NDArray[np.bool_]]:
    """A part of a mask of `size`, where and how large it is in the tile."""
    top, rows = _sampled(y, bitmap.shape[0], size[0], tile.height)
    left, columns = _sampled(x, bitmap.shape[1], size[1], tile.width)
    return top, left, bitmap[np.ix_(rows, columns)]


def _sampled(start: int, length: int, source: int, target: int) -> tuple[int, NDArray[np.int64]]:
    """Along one axis: where pixels `start` to `start + length` of `source` begin among `target`
    pixels, and which of them each of these shows, by their centres."""
    first, last = round(start * target / source), round((start + length) * target / source)
    centres = (np.arange(first, max(last, first + 1)) + 0.5) * source / target
    return first, np.clip(centres.astype(np.int64) - start, 0, length - 1)
