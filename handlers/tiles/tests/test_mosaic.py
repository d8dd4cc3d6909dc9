"""The demo model on a mosaic: tiles find what it finds in the images one by one."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL.Image
import pytest

from maskrcnn_predict.local import ModelSpec
from maskrcnn_server.options import Options
from maskrcnn_tiles.grid import Grid, Tile
from maskrcnn_tiles.part import parts
from maskrcnn_tiles.predicting import FLOOR, Tiling, instances
from maskrcnn_tiles.windows import Decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from maskrcnn_predict.local import LocalModel
    from maskrcnn_server.backend import Image
    from maskrcnn_server.detections import Detections

pytestmark = pytest.mark.full
SEEDS = 77, 78, 79
SIDE, TILE, OVERLAP = 1600, 320, 0.25
MARGIN = 0.03
"""How much lower precision and recall may be than for single images."""


class Detection(NamedTuple):
    """An instance in the mosaic."""

    category_id: int
    place: Tile
    bitmap: NDArray[np.bool_]


@pytest.fixture(scope="module")
def model(pytestconfig: pytest.Config) -> Iterator[LocalModel]:
    """The demo model."""
    folder = pytestconfig.rootpath / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
    with ModelSpec(address=str(folder), backend="tensorpack", engine="openvino").open() as opened:
        yield opened


@pytest.fixture(scope="module")
def mosaics(pytestconfig: pytest.Config) -> list[Any]:
    """Mosaics of seeds that nothing was chosen on."""
    sys.path.append(str(pytestconfig.rootpath / "build_tools"))
    make = import_module("make_mosaic").mosaic
    return [make(SIDE, SIDE, seed) for seed in SEEDS]


def hits(truth: Sequence[Detection], found: Sequence[Detection]) -> int:
    """Number of objects that are found with their category, at a mask IoU of 0.5 or more."""
    left = list(found)
    count = 0
    for one in truth:
        best = max(left, key=lambda other: iou(one, other), default=None)
        if best is not None and iou(one, best) >= 0.5:
            left.remove(best)
            count += 1
    return count


def iou(one: Detection, other: Detection) -> float:
    common = one.place.common(other.place)
    if common is None or one.category_id != other.category_id:
        return 0.0
    both = np.count_nonzero(within(one, common) & within(other, common))
    return float(both / (one.bitmap.sum() + other.bitmap.sum() - both))


def within(found: Detection, place: Tile) -> NDArray[np.bool_]:
    y, x = place.y - found.place.y, place.x - found.place.x
    return found.bitmap[y : y + place.height, x : x + place.width]


def test_tiles_find_what_single_images_show(model: LocalModel, mosaics: Sequence[Any]) -> None:
    def see(image: Image) -> Detections:
        (found,) = model.predict([image], Options(score_threshold=FLOOR))
        return found

    def shown(path: Path, y: int, x: int) -> Iterator[Detection]:
        """What the model finds in one image."""
        with PIL.Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        size = pixels.shape[0], pixels.shape[1]
        grid = Grid(size, size, 0)
        for part in parts(grid, Tile(0, 0, *size), see(pixels)):
            if part.score >= 0.5:
                place = part.place._replace(y=y + part.place.y, x=x + part.place.x)
                yield Detection(part.category_id, place, part.bitmap())

    real = expected = got = 0
    singly: list[Detection] = []
    together: list[Detection] = []
    for mosaic in mosaics:
        truth = []
        for category_id, y, x, mask in mosaic.instances:
            window = mask.window()
            place = Tile(y + window.y, x + window.x, *window.bitmap.shape)
            truth.append(Detection(category_id, place, window.bitmap))
        single = [found for where in mosaic.images for found in shown(*where)]
        tiles = [
            Detection(one.category_id, one.place, one.bitmap())
            for one in instances(Decoded(mosaic.pixels), Tiling((TILE, TILE), OVERLAP), see)
            if one.score >= 0.5
        ]
        real += len(truth)
        expected += hits(truth, single)
        got += hits(truth, tiles)
        singly += single
        together += tiles
    assert real > 100
    assert got / real >= expected / real - MARGIN
    assert got / len(together) >= expected / len(singly) - MARGIN
