"""Files that are read in parts, against what reads them whole."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from maskrcnn_handlers.request import images
from maskrcnn_server.errors import InvalidImage
from maskrcnn_tiles.grid import Tile
from maskrcnn_tiles.windows import raster_in_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

rasterio = pytest.importorskip("rasterio")

WHITE_IS_ZERO = {262: 0}
"""PhotometricInterpretation of a TIFF."""


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Four colours, which no conversion changes."""
    drawn = np.zeros((40, 50, 3), np.uint8)
    drawn[:, 20:] = 255
    drawn[5:15, 5:15, 0] = 255
    drawn[20:30, 5:15, 2] = 255
    return drawn


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "L, white is zero"])
def test_colours_are_those_of_the_whole_image(pixels: NDArray[np.uint8], mode: str) -> None:
    file = BytesIO()
    made = PIL.Image.fromarray(pixels).convert(mode.partition(",")[0])
    made.save(file, "tiff", tiffinfo=WHITE_IS_ZERO if "white" in mode else {})
    data = file.getvalue()
    expected = images.decode(data, 10_000)
    with raster_in_memory(data) as opened:
        assert (opened.read(Tile(0, 0, 40, 50)) == expected).all()
        assert (opened.read(Tile(10, 5, 20, 30)) == expected[10:30, 5:35]).all()
        small = opened.read(Tile(0, 0, 40, 50), (8, 10))
    assert (small[4, 8] == expected[22, 42]).all()


def test_a_block_with_many_bands_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_tiles.windows.MAX_BLOCK_PIXELS", 64 * 64)
    made: dict[str, Any] = {"transform": rasterio.Affine.translation(1, 1)}
    made |= {"blockxsize": 64, "blockysize": 64}
    made |= {"width": 64, "height": 64, "dtype": "uint8", "driver": "GTiff", "tiled": True}
    for bands, is_read in ((4, True), (5, False)):
        with rasterio.io.MemoryFile() as file:
            with file.open(count=bands, interleave="pixel", **made) as written:
                written.write(np.zeros((bands, 64, 64), np.uint8))
            data = file.read()
        if is_read:
            with raster_in_memory(data) as opened:
                assert opened.size == (64, 64)
        else:
            with pytest.raises(InvalidImage, match="5 bands"), raster_in_memory(data):
                pass
