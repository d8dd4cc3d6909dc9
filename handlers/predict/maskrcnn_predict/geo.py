"""Instances on the earth: GeoJSON in degrees, from results in pixels and their rasters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn_annotation_formats.outlines import parts
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.rle import from_compressed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Placed = Callable[[NDArray[np.float64]], NDArray[np.float64]]

WGS84 = "EPSG:4326"
"""Longitude and latitude in degrees, the only coordinates of RFC 7946."""
DIGITS = 8
"""Decimal places of degrees: a millimetre."""


def check() -> None:
    """Raise InvalidSetting if rasters cannot be read."""
    try:
        import rasterio  # noqa: F401
    except ImportError:
        raise InvalidSetting(
            "--geojson: rasterio is not installed: pip install 'maskrcnn-tiles[geo]'"
        ) from None


def write(path: Path, lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write the results of a journal's lines as a FeatureCollection (RFC 7946).

    Returns the images that are left out, because they do not say where on the earth they are.
    """
    left_out: list[str] = []
    with path.open("w") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = ""
        for line in lines:
            if "results" not in line:
                continue
            try:
                place = placed(Path(line["picture"]))
            except InvalidImage:
                left_out.append(line["picture"])
                continue
            for feature in _features(line, place):
                file.write(separator + json.dumps(feature, separators=(",", ":")))
                separator = ",\n"
        file.write("]}\n")
    return left_out


def placed(path: Path) -> Placed:
    """Degrees of pixels of a raster: float64 (N, 2) of x, y to float64 (N, 2) of longitude,
    latitude. Raises InvalidImage if it does not say where it is."""
    import rasterio
    import rasterio.errors
    import rasterio.warp
    from rasterio._err import CPLE_BaseError
    from rasterio.crs import CRS

    from maskrcnn_tiles.windows import raster

    try:
        with raster(path) as opened:
            crs, transform = opened.dataset.crs, opened.dataset.transform
            height, width = opened.size
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}") from None
    if crs is None:
        raise InvalidImage(f"{path}: it does not say where on the earth it is")

    def degrees(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = transform @ (pixels[:, 0], pixels[:, 1])
        longitudes, latitudes = rasterio.warp.transform(crs, CRS.from_string(WGS84), x, y)
        return np.round(np.column_stack([longitudes, latitudes]), DIGITS)

    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    try:
        is_on_earth = bool(np.isfinite(degrees(corners)).all())
    except CPLE_BaseError:
        is_on_earth = False
    if not is_on_earth:
        raise InvalidImage(f"{path}: its coordinates are none on the earth")
    return degrees


def _features(line: Mapping[str, Any], place: Placed) -> Iterator[dict[str, Any]]:
    for result in line["results"]:
        mask = from_compressed(
            result["segmentation"]["counts"], tuple(result["segmentation"]["size"])
        )
        polygons = [
            [_ring(place(part.exterior), 1), *(_ring(place(hole), -1) for hole in part.holes)]
            for part in parts(mask)
        ]
        if not polygons:
            continue
        single = len(polygons) == 1
        yield {
            "type": "Feature",
            "geometry": {
                "type": "Polygon" if single else "MultiPolygon",
                "coordinates": polygons[0] if single else polygons,
            },
            "properties": {
                "image": line["picture"],
                "category_id": result["category_id"],
                "category_name": result["category_name"],
                "score": result["score"],
            },
        }


def _ring(points: NDArray[np.float64], sign: int) -> list[list[float]]:
    """A closed ring: counterclockwise for sign 1, clockwise for -1 (RFC 7946, section 3.1.6)."""
    x, y = (points - points[0]).T
    area = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    turned = points if area * sign >= 0 else points[::-1]
    ring: list[list[float]] = turned.tolist()
    return [*ring, ring[0]]
