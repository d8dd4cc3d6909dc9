"""Large images from end to end, with a model that knows shapes by their colour."""

from __future__ import annotations

import resource
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidImage, RequestError
from maskrcnn_server.masks import BitMasks
from maskrcnn_tiles.grid import Tile
from maskrcnn_tiles.predicting import Tiling, detections, instances, side
from maskrcnn_tiles.windows import Decoded, Raster, raster

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from maskrcnn_server.backend import Image

GEO: dict[str, Any] = {
    "driver": "GTiff",
    "count": 3,
    "tiled": True,
    "compress": "deflate",
    "crs": "EPSG:32633",
    "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000),
}
"""A GeoTIFF of 10 m a pixel."""


def by_colour(image: Image) -> Detections:
    """Each colour but black is an instance; its red is the category."""
    packed = image.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    colours = [int(colour) for colour in np.unique(packed[packed > 0])]
    bitmaps = np.array([packed == colour for colour in colours], np.bool_)
    return Detections(
        size=packed.shape,
        boxes=np.array([box(bitmap) for bitmap in bitmaps], np.float32).reshape(-1, 4),
        scores=np.full(len(colours), 0.75, np.float32),
        category_ids=np.array([colour >> 16 for colour in colours], np.int64),
        masks=BitMasks(bitmaps.reshape(-1, *packed.shape)),
    )


def box(bitmap: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.fixture
def pixels() -> Image:
    """Twenty rectangles, some of them larger than a tile."""
    drawn = np.zeros((400, 500, 3), np.uint8)
    for number in range(20):
        y, x = 100 * (number // 5), 100 * (number % 5)
        height, width = 10 + 4 * number, 90 - 4 * number
        drawn[y + 5 : y + height, x + 5 : x + width] = (1 + number % 3, number, 200)
    return drawn


def test_too_many_tiles_are_refused_before_they_are_listed() -> None:
    line = np.broadcast_to(np.zeros(3, np.uint8), (1, 10**9, 3))
    with pytest.raises(RequestError, match="166666663 tiles, at most 1000000"):
        next(instances(Decoded(line), Tiling((32, 32), 0.8), by_colour))


def test_every_instance_once_with_its_box_and_mask(pixels: Image) -> None:
    found = list(instances(Decoded(pixels), Tiling((64, 80), 0.3), by_colour, concurrency=3))
    expected = by_colour(pixels)
    result = detections(found, (400, 500))
    assert expected.masks is not None
    assert result.masks is not None
    masks = [expected.masks.rle("columns"), result.masks.rle("columns")]
    wanted, got = (
        {(one.counts.tobytes(), *map(float, box)) for one, box in zip(runs, boxes, strict=True)}
        for runs, boxes in zip(masks, (expected.boxes, result.boxes), strict=True)
    )
    assert got == wanted
    assert sorted(result.category_ids) == sorted(expected.category_ids)


def test_the_best_are_kept_in_order(pixels: Image) -> None:
    def model(image: Image) -> Detections:
        found = by_colour(image)
        scores = np.linspace(0.9, 0.1, len(found), dtype=np.float32)
        return Detections(found.size, found.boxes, scores, found.category_ids, found.masks)

    found = list(instances(Decoded(pixels), Tiling((128, 128)), model))
    result = detections(found, (400, 500), score_threshold=0.3, max_detections=5)
    assert len(result) == 5
    assert list(result.scores) == sorted(result.scores, reverse=True)
    assert result.scores[-1] >= np.float32(0.3)


def test_few_tiles_are_read_before_they_are_needed(pixels: Image) -> None:
    in_flight, most, lock = 0, 0, threading.Lock()

    def model(image: Image) -> Detections:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        found = by_colour(image)
        with lock:
            in_flight -= 1
        return found

    steps: list[tuple[int, int]] = []
    list(
        instances(
            Decoded(pixels), Tiling((64, 64)), model, 2, lambda done, of: steps.append((done, of))
        )
    )
    assert most <= 2
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_an_error_of_the_model_ends_it(pixels: Image) -> None:
    def model(_: Image) -> Detections:
        raise InvalidImage("broken")

    with pytest.raises(InvalidImage, match="broken"):
        list(instances(Decoded(pixels), Tiling((64, 64)), model))


@pytest.mark.parametrize("text", ["", "x", "512x", "-5", "512x512x512", "1e3", "9" * 30])
def test_a_tile_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="tile"):
        side(text)


def test_tiles_have_limits() -> None:
    assert side("640X512") == (512, 640)
    for tile, overlap in (((8, 64), 0.2), ((64, 64), 0.95), ((64, 64), float("nan"))):
        with pytest.raises(RequestError):
            Tiling(tile, overlap)
    with pytest.raises(RequestError, match="tiles"):
        list(instances(Decoded(_endless()), Tiling((32, 32)), by_colour))


def _endless() -> Image:
    """An image of more tiles than anybody waits for, that takes no memory."""
    return np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (60_000, 60_000, 3))


def test_a_file_is_read_in_parts_as_if_it_were_whole(tmp_path: Path, pixels: Image) -> None:
    path = tmp_path / "field.tif"
    with rasterio.open(path, "w", height=400, width=500, dtype="uint8", **GEO) as written:
        written.write(pixels.transpose(2, 0, 1))
    with raster(path) as image:
        tile = Tile(37, 91, 130, 201)
        assert (image.read(tile) == pixels[37:167, 91:292]).all()
        assert image.read(tile, (13, 20)).shape == (13, 20, 3)
        found = list(instances(image, Tiling((96, 96)), by_colour, concurrency=2))
    assert len(found) == len(by_colour(pixels))


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_16_bits_are_read_and_others_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "deep.tif"
    made = {**GEO, "count": 1, "dtype": kind, "height": 64, "width": 64}
    with rasterio.open(path, "w", **made) as written:
        written.write(np.full((1, 64, 64), 0x1234, kind))
    if kind == "float32":
        with pytest.raises(InvalidImage, match="float32"), raster(path):
            pass
        return
    with raster(path) as image:
        assert (image.read(Tile(0, 0, 64, 64)) == 0x12).all()


def test_only_formats_that_open_nothing_else_are_read(tmp_path: Path) -> None:
    vrt = tmp_path / "other.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        "<SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InvalidImage), raster(vrt):
        pass


@pytest.mark.full
def test_memory_is_that_of_a_few_tiles(tmp_path: Path) -> None:
    path, side = tmp_path / "large.tif", 20_000
    made = {**GEO, "height": side, "width": side, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", **made) as written:
        spot = np.full((3, 100, 100), 7, np.uint8)
        for i in range(0, side, 2000):
            written.write(spot, window=rasterio.windows.Window(i + 950, i + 950, 100, 100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with raster(path) as image:
        assert isinstance(image, Raster)
        found = list(instances(image, Tiling((1024, 1024)), by_colour, concurrency=2))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(found) == 10
    # All pixels are 1,145 MB.
    assert grown_mb < 500
