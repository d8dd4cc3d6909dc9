"""Instances of an image, out of what its tiles show of them.

What two tiles show is compared in the rectangle that both have, by masks:

* A part that its tile cuts, and that another tile shows whole, is left out.
* Of an instance that several tiles show whole, the mask is that of the tile in whose middle it
  lies; its score is the mean over all tiles that show its place, weighted by their distance from
  it: a tile that shows the place and found nothing there counts with 0. So more tiles find no more
  false instances.
* Parts that are cut wherever they are seen are joined where they agree. The mask is their union,
  the category is the one with most of the area, the score is the mean, weighted by area. A part
  that another tile should have seen most of, and did not, loses half of its score.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_tiles.grid import Tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from maskrcnn_tiles.grid import Grid
    from maskrcnn_tiles.part import Box, Part

SAME = 0.5
"""Intersection over union, where two tiles show it, from which masks of one category are of one
instance."""
SAME_SHAPE = 0.7
"""The same for masks of different categories: a tile may see too little to know the category."""
COVERED = 0.5
"""Fraction of a cut part from which a whole instance explains it."""
EXPLAINING = 0.5
"""Fraction of a cut part's score from which a whole instance explains it."""
MIN_WEIGHT = 0.01
"""Weight of a tile that shows an instance at its very border."""


@dataclass(frozen=True, eq=False)
class Instance:
    """An instance in the whole image."""

    place: Tile
    bits: NDArray[np.uint8]
    """The mask in `place`, packed."""
    score: float
    category_id: int
    box: Box

    def bitmap(self) -> NDArray[np.bool_]:
        """The mask in `place`: bool (height, width)."""
        shape = self.place.height, self.place.width
        return np.unpackbits(self.bits, count=shape[0] * shape[1]).reshape(shape).view(np.bool_)


@dataclass(frozen=True)
class Overlap:
    """Two masks in the rectangle that both tiles show, in pixels."""

    both: int
    either: int

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return self.both / self.either


def overlap(first: Part, second: Part) -> Overlap | None:
    """How the masks of two parts overlap. None: not at all."""
    common = first.place.common(second.place)
    shown = first.tile.common(second.tile)
    if common is None or shown is None:
        return None
    both = int(np.count_nonzero(first.bitmap(common) & second.bitmap(common)))
    return Overlap(both, first.pixels(shown) + second.pixels(shown) - both) if both else None


class Group:
    """Parts that overlap one another, directly or through others, and the instances they are."""

    def __init__(
        self,
        grid: Grid,
        parts: Sequence[Part],
        overlaps: Mapping[Part, Mapping[Part, Overlap]],
    ) -> None:
        self._grid = grid
        self._parts = parts
        self._overlaps = overlaps

    def instances(self) -> Iterator[Instance]:
        """The instances, in no particular order."""
        yield from self._whole()
        for joined in self._joined():
            yield self._union(joined)

    def _whole(self) -> Iterator[Instance]:
        """What tiles show whole, once each."""
        whole = [part for part in self._parts if not part.is_cut]
        taken: set[Part] = set()
        for part in sorted(whole, key=lambda part: part.tile.distance(part.place)):
            if part in taken:
                continue
            scores = {part.tile: part.score}
            for other, found in self._overlaps[part].items():
                is_same = other.category_id == part.category_id and found.iou >= SAME
                if is_same and not other.is_cut and other not in taken:
                    taken.add(other)
                    scores[other.tile] = max(other.score, scores.get(other.tile, 0.0))
            tiles = {*self._grid.showing(part.place), *scores}
            weights = {tile: max(MIN_WEIGHT, 0.5 - tile.distance(part.place)) for tile in tiles}
            score = sum(weights[tile] * scores[tile] for tile in scores) / sum(weights.values())
            yield Instance(part.place, part.bits, score, part.category_id, part.box)

    def _joined(self) -> Iterable[list[Part]]:
        """Parts that no tile shows whole, those of one instance together."""
        cut = [part for part in self._parts if part.is_cut and not self._is_explained(part)]
        roots = {part: part for part in cut}

        def root(part: Part) -> Part:
            while roots[part] is not part:
                roots[part] = roots[roots[part]]
                part = roots[part]
            return part

        for first in cut:
            for second, found in self._overlaps[first].items():
                alike = first.category_id == second.category_id
                if second in roots and found.iou >= (SAME if alike else SAME_SHAPE):
                    roots[root(first)] = root(second)
        joined: dict[Part, list[Part]] = defaultdict(list)
        for part in cut:
            joined[root(part)].append(part)
        return joined.values()

    def _is_explained(self, part: Part) -> bool:
        """Whether another tile shows what a cut part is a part of, or that it is nothing."""
        return bool(self._grid.showing(part.place)) or any(
            not other.is_cut
            and found.both >= COVERED * part.area
            and other.score >= EXPLAINING * part.score
            for other, found in self._overlaps[part].items()
        )

    def _union(self, parts: Sequence[Part]) -> Instance:
        place = _around([part.place for part in parts])
        bitmap = np.zeros((place.height, place.width), np.bool_)
        votes: dict[int, float] = defaultdict(float)
        for part in parts:
            y, x = part.place.y - place.y, part.place.x - place.x
            bitmap[y : y + part.place.height, x : x + part.place.width] |= part.bitmap()
            votes[part.category_id] += part.area * part.score
        score = sum(votes.values()) / sum(part.area for part in parts)
        if len(parts) == 1 and self._is_doubtful(parts[0]):
            score /= 2
        category_id = max(votes, key=votes.__getitem__)
        left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
        box = min(left), min(top), max(right), max(bottom)
        return Instance(place, np.packbits(bitmap), score, category_id, box)

    def _is_doubtful(self, part: Part) -> bool:
        """Whether another tile shows most of the place, and nothing alike was found in it."""
        area = part.place.height * part.place.width
        seen = {part.tile} | {
            other.tile
            for other, found in self._overlaps[part].items()
            if other.category_id == part.category_id and found.iou >= SAME
        }
        for tile in self._grid.around(part.place):
            shown = tile.common(part.place)
            if tile not in seen and shown is not None and 2 * shown.height * shown.width >= area:
                return True
        return False


def _around(places: Sequence[Tile]) -> Tile:
    """The smallest rectangle around all of them."""
    y, x = min(place.y for place in places), min(place.x for place in places)
    bottom, right = max(place.bottom for place in places), max(place.right for place in places)
    return Tile(y, x, bottom - y, right - x)
