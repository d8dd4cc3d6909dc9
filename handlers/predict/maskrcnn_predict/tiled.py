"""Images that are larger than a model's input, predicted tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_handlers.formats.coco_results import coco_results
from maskrcnn_handlers.request import images
from maskrcnn_predict.predictors import ImageResult
from maskrcnn_server.backend import ModelMetadata
from maskrcnn_server.errors import InvalidSetting, RequestError
from maskrcnn_server.formats import Prediction

if TYPE_CHECKING:
    from maskrcnn_predict.predictors import Predictor
    from maskrcnn_predict.sources import Source
    from maskrcnn_server.backend import Image
    from maskrcnn_server.categories import Category
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.options import Options
    from maskrcnn_tiles.predicting import Tiling
    from maskrcnn_tiles.windows import Windows

SCORE_THRESHOLD = 0.5
"""Default score threshold of what tiles show together."""


def asked(tile: str | None, overlap: float | None, *, overview: bool) -> Tiling | None:
    """How flags ask to cut images. None: not at all. Raises InvalidSetting, as `tiling`."""
    if tile is not None:
        return tiling(tile, overlap, overview=overview)
    if overlap is not None or overview:
        raise InvalidSetting("--overlap and --overview need --tile")
    return None


def tiling(tile: str, overlap: float | None, *, overview: bool) -> Tiling:
    """How to cut images. Raises InvalidSetting for what cannot be, or without maskrcnn-tiles."""
    try:
        from maskrcnn_tiles import predicting
    except ImportError:
        raise InvalidSetting(
            "--tile: maskrcnn-tiles is not installed: pip install maskrcnn-tiles"
        ) from None
    try:
        share = predicting.DEFAULT_OVERLAP if overlap is None else overlap
        return predicting.Tiling(predicting.side(tile), share, overview=overview)
    except RequestError as error:
        raise InvalidSetting(f"--{error.message}") from error


def predicted(
    predictor: Predictor,
    source: Source,
    tiling: Tiling,
    asked: Options,
    max_pixels: int,
    *,
    is_drawn: bool,
) -> ImageResult:
    """The instances in an image, found tile by tile.

    `max_pixels` limits what is decoded at once, of files that cannot be read in parts. Raises
    MaskRCNNError, RequestError for a bad image.
    """
    from maskrcnn_tiles.predicting import FLOOR, detections, instances

    threshold = SCORE_THRESHOLD if asked.score_threshold is None else asked.score_threshold
    options = asked.model_copy(
        update={"score_threshold": min(FLOOR, threshold), "max_detections": None, "masks": True}
    )
    categories: dict[int, Category] = {}

    def see(pixels: Image) -> Detections:
        file = BytesIO()
        np.save(file, pixels)
        found = predictor.predict(file.getvalue(), options)
        categories.update({category.id: category for category in found.categories})
        return found.detections

    with _windows(source, max_pixels) as image:
        found = [one for one in instances(image, tiling, see) if one.score >= threshold]
        together = detections(found, image.size, threshold, asked.max_detections)
    known = tuple(categories[number] for number in sorted(categories))
    model = ModelMetadata(name="", backend="", categories=known, score_threshold=SCORE_THRESHOLD)
    unseen = np.zeros((1, 1, 3), np.uint8)
    results = coco_results(Prediction(image_id="", image=unseen, detections=together, model=model))
    return ImageResult(together, known, results, source.read() if is_drawn else b"")


@contextmanager
def _windows(source: Source, max_pixels: int) -> Iterator[Windows]:
    """The image of a source: read in parts if it is a file of a kind that can be, else decoded."""
    from maskrcnn_tiles.windows import Decoded, driver_of, raster

    path = Path(source.name)
    if path.is_file() and driver_of(path) is not None:
        try:
            with raster(path) as opened:
                yield opened
            return
        except InvalidSetting:  # without rasterio
            pass
    yield Decoded(images.decode(source.read(), max_pixels))
