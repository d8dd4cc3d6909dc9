"""Images of which only rectangles are read."""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from maskrcnn_server.errors import InvalidImage, InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import Size
    from maskrcnn_tiles.grid import Tile

TIFF = "GTiff"
DRIVERS = {
    rb"II[*+]\x00|MM\x00[*+]": TIFF,
    rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51": "JP2OpenJPEG",
}
"""GDAL's readers by a pattern of a file's first bytes. Its others may open further files or
addresses."""
MISSING = (
    "images are read in parts by rasterio, which is not installed: "
    "pip install 'maskrcnn-tiles[geo]'"
)
MAX_BLOCK_PIXELS = 1 << 24
"""Largest block of a file, in pixels, that is decoded as a whole."""
MAX_BLOCK_BANDS = 4
"""Largest number of bands of such a block; smaller blocks may have more."""
CACHE_MB = 64
"""Memory for decoded blocks of a file, which neighbouring tiles share."""


class Windows(Protocol):
    """An image, read in parts."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""

    def read(self, tile: Tile, size: Size | None = None) -> Image:
        """The pixels of a rectangle, made smaller to `size` (height, width) if that is given.

        Raises InvalidImage.
        """


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image in memory."""

    pixels: Image

    @property
    def size(self) -> Size:
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, tile: Tile, size: Size | None = None) -> Image:
        part = self.pixels[tile.y : tile.bottom, tile.x : tile.right]
        if size is not None:
            rows = (np.arange(size[0]) + 0.5) * tile.height / size[0]
            columns = (np.arange(size[1]) + 0.5) * tile.width / size[1]
            part = part[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
        return np.ascontiguousarray(part)


class Raster:
    """A file that is read in parts by rasterio: a TIFF of any size, a GeoTIFF, a JPEG 2000.

    Made by `raster`. May be used by several threads.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        """Dataset of rasterio."""
        self._lock = threading.Lock()
        self._colours = _colours(dataset)

    @property
    def size(self) -> Size:
        return self.dataset.height, self.dataset.width

    def read(self, tile: Tile, size: Size | None = None) -> Image:
        import rasterio.enums
        import rasterio.errors
        import rasterio.windows

        bands = [1, 2, 3] if self.dataset.count >= 3 else [1, 1, 1]
        resampling = rasterio.enums.Resampling
        try:
            # A dataset is not for two threads at once.
            with self._lock:
                read: NDArray[Any] = self.dataset.read(
                    bands,
                    window=rasterio.windows.Window(tile.x, tile.y, tile.width, tile.height),
                    out_shape=None if size is None else (3, *size),
                    resampling=resampling.average if self._colours is None else resampling.nearest,
                )
        except rasterio.errors.RasterioError as error:
            raise InvalidImage(f"{self.dataset.name}: {error}") from error
        if self._colours is not None:
            coloured: Image = self._colours[read[0]]
            return coloured
        if read.dtype == np.uint16:
            read = (read >> 8).astype(np.uint8)
        return np.ascontiguousarray(read.transpose(1, 2, 0))


def _colours(dataset: Any) -> Image | None:
    """The colour of each number of a palette: uint8 (numbers, 3). None: there is none."""
    import rasterio.enums

    if dataset.colorinterp[0] is not rasterio.enums.ColorInterp.palette:
        return None
    colours = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 3), np.uint8)
    for number, colour in dataset.colormap(1).items():
        colours[number] = colour[:3]
    return colours


def driver_of(path: Path) -> str | None:
    """Name of the reader of a file that can be read in parts. None: it is no such file."""
    with path.open("rb") as file:
        return driver_of_bytes(file.read(12))


def driver_of_bytes(start: bytes) -> str | None:
    """The same for the first bytes of a file."""
    return next((name for pattern, name in DRIVERS.items() if re.match(pattern, start)), None)


@contextmanager
def raster(path: Path) -> Iterator[Raster]:
    """A file, open for reading in parts.

    Raises InvalidSetting without rasterio, InvalidImage for a file that it does not read or whose
    pixels are not of 8 or 16 bits.
    """
    with _opened(path, driver_of(path), path.name) as opened:
        yield opened


@contextmanager
def raster_in_memory(data: bytes) -> Iterator[Raster]:
    """The same for the bytes of a file."""
    try:
        from rasterio.io import MemoryFile
    except ImportError:
        raise InvalidSetting(MISSING) from None
    with MemoryFile(data) as file, _opened(file.name, driver_of_bytes(data[:12]), "image") as found:
        yield found


@contextmanager
def _opened(path: Path | str, driver: str | None, name: str) -> Iterator[Raster]:
    try:
        import rasterio
        import rasterio.errors
    except ImportError:
        raise InvalidSetting(f"{name}: {MISSING}") from None
    if driver is None:
        raise InvalidImage(f"{name}: no TIFF or JPEG 2000, which can be read in parts")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB << 20, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        try:
            with warnings.catch_warnings():
                # Most images lie nowhere on the earth.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                dataset = rasterio.open(path, driver=driver)
        except rasterio.errors.RasterioError as error:
            raise InvalidImage(f"{name}: {error}") from error
        with dataset:
            largest = max(height * width for height, width in dataset.block_shapes)
            if largest > MAX_BLOCK_PIXELS:
                raise InvalidImage(
                    f"{name}: blocks of {largest} pixels, at most {MAX_BLOCK_PIXELS} are read at "
                    "once; save it in tiles"
                )
            # A block may have all bands.
            if largest * dataset.count > MAX_BLOCK_PIXELS * MAX_BLOCK_BANDS:
                raise InvalidImage(
                    f"{name}: blocks of {largest} pixels with {dataset.count} bands are too large; "
                    "save it with three, in smaller tiles"
                )
            kinds = set(dataset.dtypes)
            if not kinds <= {"uint8", "uint16"}:
                raise InvalidImage(
                    f"{name}: pixels of {', '.join(sorted(kinds))}; save 8 bits a channel"
                )
            yield Raster(dataset)
