"""The demo model on a mosaic: tiles find what it finds in the images one by one."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from maskrcnn_predict.local import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskrcnn_predict.local import LocalModel

pytestmark = pytest.mark.full
SEEDS = 77, 78, 79
SIDE, TILE, OVERLAP = 1600, 320, 0.25
MARGIN = 0.03
"""How much lower precision and recall may be than for single images."""


@pytest.fixture(scope="module")
def model(pytestconfig: pytest.Config) -> Iterator[LocalModel]:
    """The demo model."""
    folder = pytestconfig.rootpath / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
    with ModelSpec(address=str(folder), backend="tensorpack", engine="openvino").open() as opened:
        yield opened


@pytest.fixture(scope="module")
def measuring(pytestconfig: pytest.Config) -> Any:
    """The script that measures tiles on mosaics."""
    sys.path.append(str(pytestconfig.rootpath / "build_tools"))
    return import_module("measure_tiles")


def test_tiles_find_what_single_images_show(model: LocalModel, measuring: Any) -> None:
    ways = measuring.Ways(model, TILE, OVERLAP)
    make = import_module("make_mosaic").mosaic
    real = expected = singly = got = together = 0
    # Nothing was chosen on these seeds.
    for mosaic in (make(SIDE, SIDE, seed) for seed in SEEDS):
        truth = list(measuring.truth(mosaic))
        right, counted = measuring.hits(truth, list(ways.singly(mosaic)))
        expected, singly = expected + right, singly + counted
        right, counted = measuring.hits(truth, list(ways.tiles(mosaic)))
        got, together = got + right, together + counted
        real += len(truth)
    assert real > 100
    assert got / real >= expected / real - MARGIN
    assert got / together >= expected / singly - MARGIN
