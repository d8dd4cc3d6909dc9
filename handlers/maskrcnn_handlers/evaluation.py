"""Average precision as COCO measures it (Lin et al. 2014), by pycocotools."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_handlers import images
from maskrcnn_handlers.formats.coco_results import CocoResults
from maskrcnn_server.backend import Image, Model, PredictOptions
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.formats import Prediction

SCORE_THRESHOLD = 0.05
"""Of the detections that are evaluated, as the frameworks' own evaluations have it."""


@dataclass(frozen=True)
class CocoSet:
    """Annotated pictures."""

    annotations: Path
    """In COCO's format."""
    paths: Mapping[int, Path]
    """Of the pictures, by their ids."""

    def pictures(self, max_pixels: int) -> Iterator[tuple[int, Image]]:
        """Every picture, by its id. Raises InvalidImage for one that cannot be read."""
        for image_id, path in self.paths.items():
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InvalidImage(f"{path}: {error.strerror}") from None
            yield image_id, images.decode(data, max_pixels)


def coco_set(annotations: Path, folder: Path) -> CocoSet:
    """The pictures in `folder` that the file `annotations` is about.

    Raises InvalidSetting if that is not in COCO's format.
    """
    try:
        listed = json.loads(annotations.read_text("utf-8"))["images"]
        paths = {int(entry["id"]): folder / str(entry["file_name"]) for entry in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidSetting(f"{annotations}: no COCO annotations ({error!r})") from None
    return CocoSet(annotations, paths)


def average_precision(model: Model, truth: CocoSet, max_pixels: int) -> dict[str, float]:
    """AP over IoU 0.50 to 0.95 of `boxes` and, if the model has them, `masks`: 0 to 1.

    Raises InvalidSetting if pycocotools is not installed, or the annotations cannot be read.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InvalidSetting(
            "pycocotools is not installed: pip install 'maskrcnn-server[evaluate]'"
        ) from None
    results = list(_results(model, truth, max_pixels))
    kinds = {"boxes": "bbox"} | ({"masks": "segm"} if model.metadata.has_masks else {})
    found = {}
    # It prints as it goes.
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(str(truth.annotations))
        for kind, name in kinds.items():
            if not results:
                found[kind] = 0.0
                continue
            evaluation = COCOeval(annotations, annotations.loadRes(results), name)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            found[kind] = float(evaluation.stats[0])
    return found


def _results(model: Model, truth: CocoSet, max_pixels: int) -> Iterator[Any]:
    options = PredictOptions(score_threshold=SCORE_THRESHOLD)
    for image_id, image in truth.pictures(max_pixels):
        (found,) = model.predict([image], options)
        prediction = Prediction(
            image_id=str(image_id), image=image, detections=found, model=model.metadata
        )
        yield from json.loads(CocoResults().render(prediction))
