"""Tile after tile in, instances out as soon as no later tile can change them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from maskrcnn_server.errors import RequestError
from maskrcnn_tiles.instances import Group, overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from maskrcnn_tiles.grid import Grid, Tile
    from maskrcnn_tiles.instances import Instance, Overlap
    from maskrcnn_tiles.part import Part

CELL = 256
"""Pixels of the squares by which parts near one another are found."""
MAX_BYTES = 512 << 20
"""Memory of what is not settled, about, at most."""
PART_BYTES, OVERLAP_BYTES = 1000, 250
"""Memory of a part without its mask, and of an overlap of two, about."""


class Merger:
    """Merges what the tiles of one image show; memory is that of what is not settled yet."""

    def __init__(self, grid: Grid, max_bytes: int = MAX_BYTES) -> None:
        self._grid = grid
        self._max_bytes = max_bytes
        self._bytes = 0
        self._cells: dict[tuple[int, int], list[Part]] = defaultdict(list)
        self._overlaps: dict[Part, dict[Part, Overlap]] = {}

    def add(self, parts: Iterable[Part]) -> None:
        """Take what one tile shows, or what an overview of the image does.

        An overview is a tile as large as the image: of it, only what no tile of the grid shows
        whole is taken. Raises RequestError if there is too much that is not settled.
        """
        for part in parts:
            if _is_overview(part.tile, self._grid) and self._grid.showing(part.place):
                continue
            self._overlaps[part] = {}
            for other in self._near(part):
                found = overlap(part, other)
                if found is not None:
                    self._overlaps[part][other] = self._overlaps[other][part] = found
            for cell in _cells(part.place):
                self._cells[cell].append(part)
            self._bytes += self._size(part)
            if self._bytes > self._max_bytes:
                raise RequestError(
                    f"tile: what overlaps in this image takes more than {self._max_bytes >> 20} "
                    "MiB; ask for less overlap, or smaller tiles",
                    field="tile",
                )

    def settled(self, y: int | None = None) -> Iterator[Instance]:
        """Instances that tiles which begin at row `y` or below cannot change; None: all."""
        for group in list(self._groups()):
            if y is None or all(part.tile.bottom <= y for part in group):
                yield from Group(self._grid, group, self._overlaps).instances()
                self._forget(group)

    def _near(self, part: Part) -> set[Part]:
        """Parts of other tiles whose rectangles may overlap this one's."""
        cells = _cells(part.place)
        return {
            other
            for cell in cells
            for other in self._cells.get(cell, ())
            if other.tile != part.tile
        }

    def _groups(self) -> Iterator[list[Part]]:
        """Parts that overlap one another, directly or through others."""
        seen: set[Part] = set()
        for start in self._overlaps:
            if start in seen:
                continue
            group, waiting = [], [start]
            seen.add(start)
            while waiting:
                part = waiting.pop()
                group.append(part)
                new = self._overlaps[part].keys() - seen
                seen |= new
                waiting.extend(new)
            yield group

    def _size(self, part: Part) -> int:
        """Memory of a part and of its overlaps with those that were there before it, about."""
        return part.bits.nbytes + PART_BYTES + OVERLAP_BYTES * len(self._overlaps[part])

    def _forget(self, group: Iterable[Part]) -> None:
        for part in group:
            self._bytes -= self._size(part)
            for other in self._overlaps.pop(part):
                self._overlaps.get(other, {}).pop(part, None)
            for cell in _cells(part.place):
                self._cells[cell].remove(part)


def _is_overview(tile: Tile, grid: Grid) -> bool:
    return len(grid) > 1 and (tile.height, tile.width) == grid.size


def _cells(place: Tile) -> list[tuple[int, int]]:
    return [
        (y, x)
        for y in range(place.y // CELL, (place.bottom - 1) // CELL + 1)
        for x in range(place.x // CELL, (place.right - 1) // CELL + 1)
    ]
