"""Outlines of masks: polygons with several parts and with holes, between or through pixels.

Coordinates are continuous: pixel (column 0, row 0) is the square from 0, 0 to 1, 1, its centre 0.5,
0.5. Rings are float64 (points, 2) of x, y, not closed; the instance is to the right of who walks
along them on the screen, so that exteriors and holes run in opposite directions.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.rle import RLE

Ring: TypeAlias = NDArray[np.float64]

Course: TypeAlias = Literal["between", "through"]
"""`between` pixels runs along their edges: for programs that ask which pixels' centres are inside.
`through` runs from centre to centre of the outermost pixels: for programs that fill a polygon and
draw its line, as OpenCV and Pillow do."""

TOLERANCE = 0.35
"""Maximum distance in pixels between a dropped point and the simplified line. Corners of pixels are
cut from the middle of one edge to the middle of the next, 0.354 pixels from the nearest centre:
with less than that, no centre changes sides."""

SMALL = 1024
"""Area in pixels (COCO's limit of small objects) below which outlines are neither simplified nor
cut: it would be a large part of them."""


class Part(NamedTuple):
    """A connected part of an instance."""

    exterior: Ring
    holes: list[Ring]


def parts(mask: RLE, course: Course = "between") -> list[Part]:
    """Outline of a mask, from top to bottom; pixels that touch at a corner only are not connected.

    Filling it by the rule of its course gives the mask: exactly between pixels, nearly so through
    them. An empty mask has none.
    """
    y, x, bitmap = mask.window()
    if not bitmap.size:
        return []
    small = mask.area < SMALL
    found = []
    for exterior, holes in _nested(bitmap):
        rings = [exterior, *holes]
        if not small or course == "through":
            rings = [_middles(ring, course) for ring in rings]
        if not small:
            rings = [_simplified(ring) for ring in rings]
        outer, *inner = [ring + np.array([x, y]) for ring in rings]
        found.append(Part(outer, inner))
    return found


def without_holes(part: Part) -> Ring:
    """One ring for a part with holes: it enters each hole, goes around it, and returns the same
    way.

    The way is horizontal, from the left, and crosses the instance only.
    """
    ring = part.exterior
    for hole in sorted(part.holes, key=lambda hole: float(hole[:, 0].min())):
        around = np.roll(hole, -int(hole[:, 0].argmin()), axis=0)
        edge, entry = _left_of(ring, around[0])
        way = np.concatenate([entry, around, around[:1], entry])
        ring = np.concatenate([ring[: edge + 1], way, ring[edge + 1 :]])
    return ring


def _left_of(ring: Ring, point: NDArray[np.float64]) -> tuple[int, Ring]:
    """The first edge of a ring to the left of a point in it, and the point on it (1, 2)."""
    following = np.roll(ring, -1, axis=0)
    across, y = following - ring, point[1]
    level = across[:, 1] == 0
    share = (y - ring[:, 1]) / np.where(level, 1, across[:, 1])
    ends = np.minimum(ring[:, 0], following[:, 0]), np.maximum(ring[:, 0], following[:, 0])
    x = np.where(level, point[0].clip(*ends), ring[:, 0] + share * across[:, 0])
    meets = np.where(level, ring[:, 1] == y, (share >= 0) & (share <= 1)) & (x <= point[0])
    edge = int(np.where(meets, x, -np.inf).argmax())
    return edge, np.array([[x[edge], y]])


def joined(ring: Ring, other: Ring) -> Ring:
    """Two rings joined to one by a way there and back."""
    here = _nearest(ring, other[other[:, 0].argmin()])
    there = _nearest(other, ring[here])
    around = np.roll(other, -there, axis=0)
    return np.concatenate([ring[: here + 1], around, around[:1], ring[here:]])


def _nearest(ring: Ring, point: NDArray[np.float64]) -> int:
    return int(((ring - point) ** 2).sum(1).argmin())


def _nested(bitmap: NDArray[np.bool_]) -> Iterator[tuple[Ring, list[Ring]]]:
    """Exact outline: each exterior with its holes, as corners of pixels."""
    corners = _Corners(bitmap)
    loops = list(corners.loops())
    loop_of = np.zeros(len(corners.x), np.int64)
    for i, loop in enumerate(loops):
        loop_of[loop] = i
    rings = [np.stack([corners.x[loop], corners.y[loop]], 1).astype(np.float64) for loop in loops]
    holes: list[list[Ring]] = [[] for _ in rings]
    owner = np.arange(len(rings))
    # From left to right: what bounds the pixels left of a hole has its owner already.
    inner = [i for i, ring in enumerate(rings) if _area(ring) < 0]
    for i in sorted(inner, key=lambda i: float(rings[i][:, 0].min())):
        x, y = min(map(tuple, rings[i].astype(np.int64).tolist()))
        gap = np.flatnonzero(~bitmap[y, :x])
        left = int(gap[-1]) + 1 if len(gap) else 0
        owner[i] = owner[loop_of[corners.above(left, y)]]
        holes[owner[i]].append(rings[i])
    for i, ring in enumerate(rings):
        if owner[i] == i:
            yield ring, holes[i]


class _Corners:
    """The corners of a bitmap's outline: where it turns. In order of rows, then columns.

    Two pixels that touch at a corner make two corners of it, the first for who comes from the left.
    In a row, every two corners in turn are the ends of a horizontal edge; in a column, of a
    vertical one.
    """

    def __init__(self, bitmap: NDArray[np.bool_]) -> None:
        framed = np.pad(bitmap, 1)
        a, b, c, d = framed[:-1, :-1], framed[:-1, 1:], framed[1:, :-1], framed[1:, 1:]
        crossing = (a == d) & (b == c) & (a != b)
        y, x = np.nonzero(a ^ b ^ c ^ d | crossing)
        place = np.repeat(np.arange(len(y)), 1 + crossing[y, x])
        self.y, self.x = y[place], x[place]
        second = np.append(False, place[1:] == place[:-1])
        # At a crossing, each pixel keeps its own two edges.
        rising = b[self.y, self.x]
        self._by_column = np.lexsort((second ^ rising, self.y, self.x))
        pairs = self._by_column.reshape(-1, 2)
        opposite = np.empty(len(place), np.int64)
        opposite[pairs] = pairs[:, ::-1]
        ends = np.arange(len(place)).reshape(-1, 2)
        leftward = ~d[self.y[::2], self.x[::2]]
        ends[leftward] = ends[leftward, ::-1]
        self._ends = ends
        """Corners at the ends of the horizontal edges, in walking order."""
        self._next = opposite[ends[:, 1]] // 2
        """Index of the horizontal edge that follows each, one vertical edge later."""
        self._lines = len(bitmap) + 1
        self._places = self.x * self._lines + self.y
        """Numbers of the corners, ascending by column, then row."""

    def loops(self) -> Iterator[list[int]]:
        """Corners of each closed walk; no walk visits a place twice."""
        following, ends = self._next.tolist(), self._ends.tolist()
        places = self._places.tolist()
        walked = bytearray(len(ends))
        for first in range(len(ends)):
            walk: list[int] = []
            at: dict[int, int] = {}
            edge = first
            while not walked[edge]:
                walked[edge] = True
                for corner in ends[edge]:
                    known = at.get(places[corner])
                    if known is not None:
                        yield walk[known:]
                        for passed in walk[known:]:
                            del at[places[passed]]
                        del walk[known:]
                    at[places[corner]] = len(walk)
                    walk.append(corner)
                edge = following[edge]
            if walk:
                yield walk

    def above(self, x: int, y: int) -> int:
        """Corner at which the walk enters the vertical edge left of pixel (x, y)."""
        place = x * self._lines + y
        after = np.searchsorted(self._places, place, "right", sorter=self._by_column)
        edge = (int(after) - 1) // 2
        one, other = self._by_column[2 * edge : 2 * edge + 2].tolist()
        return int(one if self._ends[one // 2, 1] == one else other)


def _area(ring: Ring) -> float:
    """Signed area of a ring (shoelace formula): positive for exteriors, negative for holes."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _middles(ring: Ring, course: Course) -> Ring:
    """Ring through the middles of the first and last pixel edge of each side."""
    following = np.roll(ring, -1, axis=0)
    step = np.sign(following - ring)
    inward = np.stack([-step[:, 1], step[:, 0]], 1)
    aside = inward / 2 if course == "through" else 0
    points = np.stack([ring + step / 2 + aside, following - step / 2 + aside], 1).reshape(-1, 2)
    moves = (points != np.roll(points, 1, axis=0)).any(1)
    return points[moves] if moves.any() else points[:1]


def _simplified(ring: Ring) -> Ring:
    """Ring without points that are within the tolerance of the remaining line.

    The method is Douglas and Peucker's (Cartographica 10 (2), 1973), on all sections at once.
    """
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), np.bool_)
    kept[[0, ((ring - ring[0]) ** 2).sum(1).argmax(), -1]] = True
    while True:
        ends = np.flatnonzero(kept)
        section = np.cumsum(kept)[:-1] - 1
        start = closed[ends[:-1]][section]
        along = closed[ends[1:]][section] - start
        offset = ring - start
        length = (along**2).sum(1)
        share = np.clip((offset * along).sum(1) / np.where(length, length, 1), 0, 1)
        distance = ((offset - share[:, None] * along) ** 2).sum(1)
        worst = np.maximum.reduceat(distance, ends[:-1])[section]
        more = (distance == worst) & (distance > TOLERANCE**2)
        if not more.any():
            return ring[kept[:-1]]
        kept[:-1] |= more
