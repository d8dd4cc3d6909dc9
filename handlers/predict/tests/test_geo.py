"""`predict --geojson`: instances of georeferenced rasters in degrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from shapely.geometry import shape
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import local
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.plugins import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METRES = 10
"""Size of a pixel on the ground."""
EAST, NORTH = 500_000, 5_000_000
"""The raster's top left corner in zone 33: on the meridian of 15 degrees."""


def run(*flags: str) -> Result:
    return CliRunner().invoke(program(installed()), ["predict", *flags])


@pytest.fixture
def pixels() -> np.ndarray:
    """A red square of 40 pixels, 100 from the left and 50 from the top."""
    drawn = np.zeros((200, 300, 3), np.uint8)
    drawn[50:90, 100:140, 0] = 255
    return drawn


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    names = ["--json", str(tmp_path / "all.json"), "--geojson", str(tmp_path / "all.geojson")]
    return ["--model", str(tmp_path), "--tile", "128", *names]


def test_a_square_lies_where_it_is_on_the_earth(
    tmp_path: Path, pixels: np.ndarray, flags: list[str], encode: Callable[..., bytes]
) -> None:
    made: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    made["transform"] = rasterio.Affine(METRES, 0, EAST, 0, -METRES, NORTH)
    with rasterio.open(tmp_path / "a.tif", "w", height=200, width=300, **made) as written:
        written.write(pixels.transpose(2, 0, 1))
    (tmp_path / "b.png").write_bytes(encode(pixels))
    done = run(str(tmp_path / "a.tif"), str(tmp_path / "b.png"), *flags)
    assert done.exit_code == 0, done.output
    assert "b.png: it does not say where" in done.output
    content = json.loads((tmp_path / "all.geojson").read_text())
    (feature,) = content["features"]
    assert feature["properties"]["category_name"] == "red"
    assert feature["properties"]["image"].endswith("a.tif")
    polygon = shape(feature["geometry"])
    assert polygon.exterior.is_ccw
    centre = polygon.centroid
    # A pixel is 10 m: the centre is 1,200 m east of the meridian and 700 m south of the corner.
    metres = rasterio.warp.transform("EPSG:4326", "EPSG:32633", [centre.x], [centre.y])
    assert metres[0][0] == pytest.approx(EAST + 1200, abs=1)
    assert metres[1][0] == pytest.approx(NORTH - 700, abs=1)
    corners = np.array(polygon.exterior.coords)
    x, y = rasterio.warp.transform("EPSG:4326", "EPSG:32633", *corners.T.tolist())
    assert np.ptp(x) == pytest.approx(400, abs=0.1)
    assert np.ptp(y) == pytest.approx(400, abs=0.1)


@pytest.mark.parametrize(
    ("crs", "east"),
    [('LOCAL_CS["site",UNIT["metre",1]]', 0), ("EPSG:32633", 1e12)],
    ids=["a building site", "beyond the projection"],
)
def test_coordinates_that_are_none_on_the_earth_are_left_out(
    tmp_path: Path, pixels: np.ndarray, flags: list[str], crs: str, east: float
) -> None:
    made: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": crs}
    made["transform"] = rasterio.Affine(METRES, 0, east, 0, -METRES, 0)
    with rasterio.open(tmp_path / "a.tif", "w", height=200, width=300, **made) as written:
        written.write(pixels.transpose(2, 0, 1))
    done = run(str(tmp_path / "a.tif"), *flags)
    assert done.exit_code == 0, done.output
    assert "a.tif: it does not say where" in done.output
    assert json.loads((tmp_path / "all.geojson").read_text())["features"] == []


def test_it_needs_results_to_write(
    flags: list[str], tmp_path: Path, pixels: np.ndarray, encode: Callable[..., bytes]
) -> None:
    (tmp_path / "b.png").write_bytes(encode(pixels))
    done = run(str(tmp_path / "b.png"), *flags[:4], "--geojson", "a.geojson")
    assert "--geojson needs --json" in f"{done.exception} {done.output}"


@pytest.mark.parametrize("name", ["b.png", "all.json", "all.jsonl"])
def test_it_replaces_neither_an_image_nor_results(
    flags: list[str], tmp_path: Path, pixels: np.ndarray, encode: Callable[..., bytes], name: str
) -> None:
    (tmp_path / "b.png").write_bytes(before := encode(pixels))
    done = run(str(tmp_path / "b.png"), *flags[:-1], str(tmp_path / name))
    assert "--geojson " in f"{done.exception} {done.output}"
    assert "it is read" in f"{done.exception} {done.output}"
    assert (tmp_path / "b.png").read_bytes() == before
