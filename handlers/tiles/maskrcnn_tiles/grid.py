"""The tiles of an image."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from maskrcnn_server.rle import Size

BORDER = 2
"""Distance in pixels from a border of its tile up to which an instance counts as cut by it."""
MAX_OVERLAP = 0.8
"""Fraction of a tile that neighbours may share at most; the number of tiles grows without limit
towards 1."""


class Tile(NamedTuple):
    """A rectangle of an image, in pixels; `y` and `x` are its top left corner."""

    y: int
    x: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def right(self) -> int:
        return self.x + self.width

    def common(self, other: Tile) -> Tile | None:
        """The rectangle that lies in both. None: they are apart."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        height, width = min(self.bottom, other.bottom) - y, min(self.right, other.right) - x
        return Tile(y, x, height, width) if height > 0 and width > 0 else None

    def distance(self, place: Tile) -> float:
        """Distance of the centre of `place` from this tile's centre: 0.5 is on its border."""
        down = abs(place.y + place.height / 2 - self.y - self.height / 2) / self.height
        across = abs(place.x + place.width / 2 - self.x - self.width / 2) / self.width
        return max(down, across)


class Grid:
    """Tiles that cover an image, spread evenly.

    `size` and `tile` are (height, width) in pixels; neighbours share the fraction `overlap` (0 to
    0.8) of a tile, or a little more. An image smaller than a tile is one tile.
    """

    def __init__(self, size: Size, tile: Size, overlap: float) -> None:
        self.size = size
        self.tile = min(tile[0], size[0]), min(tile[1], size[1])
        self._rows = _starts(size[0], self.tile[0], overlap)
        self._columns = _starts(size[1], self.tile[1], overlap)

    def __len__(self) -> int:
        return len(self._rows) * len(self._columns)

    def __iter__(self) -> Iterator[Tile]:
        """The tiles row by row, from the top left."""
        for y in self._rows:
            for x in self._columns:
                yield Tile(y, x, *self.tile)

    def cuts(self, tile: Tile, place: Tile) -> bool:
        """Whether `place` reaches a border of the tile that is not one of the image."""
        height, width = self.size
        return (
            (tile.y > 0 and place.y < tile.y + BORDER)
            or (tile.x > 0 and place.x < tile.x + BORDER)
            or (tile.bottom < height and place.bottom > tile.bottom - BORDER)
            or (tile.right < width and place.right > tile.right - BORDER)
        )

    def around(self, place: Tile) -> Iterator[Tile]:
        """The tiles that share a pixel with `place`."""
        for y in _between(self._rows, place.y - self.tile[0], place.bottom):
            for x in _between(self._columns, place.x - self.tile[1], place.right):
                yield Tile(y, x, *self.tile)

    def showing(self, place: Tile) -> list[Tile]:
        """The tiles that show the whole of `place`."""
        return [
            t for t in self.around(place) if t.common(place) == place and not self.cuts(t, place)
        ]


def number_of_tiles(size: Size, tile: Size, overlap: float) -> int:
    """Number of tiles of such a `Grid`, which need not be made."""
    return _count(size[0], tile[0], overlap) * _count(size[1], tile[1], overlap)


def _count(length: int, tile: int, overlap: float) -> int:
    """Number of tiles along one axis."""
    if length <= tile:
        return 1
    step = max(1, math.floor(tile * (1 - overlap)))
    return 1 + math.ceil((length - tile) / step)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along one axis."""
    count = _count(length, tile, overlap)
    return [round(i * (length - tile) / max(1, count - 1)) for i in range(count)]


def _between(starts: list[int], low: int, high: int) -> list[int]:
    """Those of ascending numbers that are more than `low` and less than `high`."""
    return starts[bisect_right(starts, low) : bisect_left(starts, high)]
