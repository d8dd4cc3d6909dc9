"""The instances in a large image, by a model that sees a tile at a time."""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import RequestError
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import edges, from_edges
from maskrcnn_tiles.grid import MAX_OVERLAP, Grid, Tile, number_of_tiles
from maskrcnn_tiles.merging import Merger
from maskrcnn_tiles.part import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import RLE, Size
    from maskrcnn_tiles.instances import Instance
    from maskrcnn_tiles.part import Part
    from maskrcnn_tiles.windows import Windows

MIN_TILE, MAX_TILE = 32, 8192
"""Limits of a tile's sides in pixels."""
MAX_TILES = 1_000_000
DEFAULT_OVERLAP = 0.25
FLOOR = 0.05
"""Score from which detections in tiles count. What a tile is unsure of, others may confirm."""
OVERVIEW_SIDE = 2048
"""Maximum side in pixels of the whole image, made smaller, for an overview."""


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles."""

    tile: Size
    """Height and width of a tile in pixels."""
    overlap: float = DEFAULT_OVERLAP
    """Fraction of a tile that neighbours share: 0 to 0.8. Instances up to this size are seen whole
    by at least one tile."""
    overview: bool = False
    """Whether the whole image, made smaller, is looked at as well, for what is larger than a
    tile."""

    def __post_init__(self) -> None:
        if not all(MIN_TILE <= side <= MAX_TILE for side in self.tile):
            raise RequestError(
                f"tile: sides of {MIN_TILE} to {MAX_TILE} pixels, not "
                f"{self.tile[1]}x{self.tile[0]}",
                field="tile",
            )
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise RequestError(f"overlap: 0 to {MAX_OVERLAP}, not {self.overlap}", field="overlap")


def side(text: str) -> Size:
    """Height and width of a tile, written as `512` or `640x512` (width x height).

    Raises RequestError for any other text.
    """
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text.strip().lower())
    if found is None:
        raise RequestError(f"tile: such as 512 or 640x512, not {text[:40]!r}", field="tile")
    width = int(found[1])
    return int(found[2] or width), width


class Step(NamedTuple):
    """A tile that is done."""

    tile: Tile
    done: int
    """Number of tiles that are done, this one included."""
    total: int
    settled: Sequence[Instance]
    """Instances that no other tile can change any more."""


def steps(
    image: Windows,
    tiling: Tiling,
    predict: Callable[[Image], Detections],
    concurrency: int = 1,
    max_tiles: int = MAX_TILES,
) -> Iterator[Step]:
    """Each tile of an image, in order, with the instances that are settled by then.

    `predict` is called from `concurrency` threads with the pixels of a tile, and should return what
    scores `FLOOR` or more. Raises what `predict` and reading raise, and RequestError for more than
    `max_tiles` tiles.
    """
    total = number_of_tiles(image.size, tiling.tile, tiling.overlap)
    if total > max_tiles:
        raise RequestError(f"tile: {total} tiles, at most {max_tiles} are allowed", field="tile")
    grid = Grid(image.size, tiling.tile, tiling.overlap)
    merger = Merger(grid)
    if tiling.overview and total > 1:
        merger.add(_overview(image, grid, predict))
    row = 0
    for done, (tile, detections) in enumerate(_seen(image, grid, predict, concurrency), 1):
        settled: list[Instance] = []
        if tile.y != row:
            settled += merger.settled(tile.y)
            row = tile.y
        merger.add(parts(grid, tile, detections))
        if done == total:
            settled += merger.settled()
        yield Step(tile, done, total, settled)


def instances(
    image: Windows,
    tiling: Tiling,
    predict: Callable[[Image], Detections],
    concurrency: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Instance]:
    """The instances in an image, each as soon as no other tile can change it, roughly from the top.

    As `steps`. `progress` gets the number of tiles that are done, and of all.
    """
    for step in steps(image, tiling, predict, concurrency):
        yield from step.settled
        if progress is not None:
            progress(step.done, step.total)


def detections(
    found: Sequence[Instance],
    size: Size,
    score_threshold: float = 0.0,
    max_detections: int | None = None,
) -> Detections:
    """Instances of an image of `size` as detections, best first; the best `max_detections`."""
    chosen = sorted(
        (one for one in found if one.score >= score_threshold), key=lambda one: -one.score
    )[:max_detections]
    boxes = np.array([one.box for one in chosen], np.float32).reshape(-1, 4)
    height, width = size
    return Detections(
        size=size,
        boxes=boxes.clip(0, (width, height, width, height)).astype(np.float32),
        scores=np.array([one.score for one in chosen], np.float32),
        category_ids=np.array([one.category_id for one in chosen], np.int64),
        masks=RunLengthMasks([runs(one, size) for one in chosen], size),
    )


def runs(instance: Instance, size: Size) -> RLE:
    """The mask in an image of `size` as run lengths in columns, COCO's order."""
    lines = instance.bitmap().T
    place = instance.place
    return from_edges([edges(lines, (place.x, place.y), size[0])], size, "columns")


def _seen(
    image: Windows, grid: Grid, predict: Callable[[Image], Detections], concurrency: int
) -> Iterator[tuple[Tile, Detections]]:
    """Each tile with what was detected in it, in order; a few tiles are in memory at a time."""

    def see(tile: Tile) -> Detections:
        return predict(image.read(tile))

    with ThreadPoolExecutor(concurrency) as pool:
        pending: deque[tuple[Tile, Future[Detections]]] = deque()
        try:
            for tile in grid:
                pending.append((tile, pool.submit(see, tile)))
                if len(pending) > concurrency:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _overview(image: Windows, grid: Grid, predict: Callable[[Image], Detections]) -> Iterator[Part]:
    """What the whole image shows, made smaller."""
    height, width = image.size
    shrink = max(1.0, max(image.size) / OVERVIEW_SIDE)
    size = max(1, round(height / shrink)), max(1, round(width / shrink))
    everything = Tile(0, 0, height, width)
    return parts(grid, everything, predict(image.read(everything, size)))
