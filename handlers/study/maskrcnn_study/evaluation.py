"""Average precision as COCO measures it (Lin et al. 2014), by pycocotools."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_handlers.formats.coco_results import CocoResult, coco_results
from maskrcnn_handlers.request import images
from maskrcnn_server.backend import Image, Model, PredictOptions
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.formats import Prediction
from maskrcnn_server.optional import required

SCORE_THRESHOLD = 0.05
"""Minimum score of the detections that are evaluated, as in the frameworks' own evaluations."""
MAX_DETECTIONS = 100
"""Maximum number of detections of an image; COCO ignores more."""
NUMBERS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
"""COCO's twelve numbers in its order: average precision and recall of all, small, medium and large
objects."""
KINDS = {"bbox": "boxes", "segm": "masks"}
IOUS = {"IoU 0.50": 0, "IoU 0.75": 5}
"""IoUs of the curves that are drawn, with their index among 0.50, 0.55 ... 0.95."""


@dataclass(frozen=True)
class CocoSet:
    """Annotated images."""

    annotations: Path
    """File of the annotations in COCO's format."""
    paths: Mapping[int, Path]
    """Paths of the images, by id."""
    categories: Mapping[int, str]
    """Names of the categories, by id."""

    def pictures(self, max_pixels: int) -> Iterator[tuple[int, Image]]:
        """Every image with its id. Raises InvalidImage for one that cannot be read."""
        for image_id, path in self.paths.items():
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InvalidImage(f"{path}: {error.strerror}") from None
            yield image_id, images.decode(data, max_pixels)


@dataclass(frozen=True)
class Figures:
    """Quality of boxes or masks; -1 where nothing is annotated."""

    numbers: Mapping[str, float]
    """COCO's twelve numbers."""
    per_category: Mapping[str, float]
    """AP by category name."""
    curves: Mapping[str, NDArray[np.float64]]
    """Precision (101,) at recalls 0, 0.01 ... 1, averaged over the categories."""


def coco_set(annotations: Path, folder: Path) -> CocoSet:
    """Images in `folder` with the annotations of a file.

    Raises InvalidSetting if the file is not in COCO's format, or names an image outside of the
    folder.
    """
    try:
        content = json.loads(annotations.read_text("utf-8"))
        names = {int(entry["id"]): str(entry["file_name"]) for entry in content["images"]}
        categories = {int(c["id"]): str(c["name"]) for c in content.get("categories", ())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidSetting(f"{annotations}: no COCO annotations ({error!r})") from None
    for name in names.values():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InvalidSetting(f"{annotations}: {name!r} leads out of the folder of pictures")
    return CocoSet(annotations, {i: folder / name for i, name in names.items()}, categories)


def require_pycocotools() -> None:
    """Raise InvalidSetting if it is not installed."""
    required("pycocotools.cocoeval", "maskrcnn-server[evaluate]")


def measure(annotations: Path, results: Sequence[Any]) -> dict[str, Figures]:
    """Quality of COCO results: of `bbox`, and of `segm` if they have masks.

    Raises InvalidSetting if pycocotools is not installed, or results and annotations do not fit.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    kinds = ("bbox", "segm") if any("segmentation" in r for r in results) else ("bbox",)
    # It prints as it goes.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        if not results:
            return {kind: _nothing_found(truth.cats.values()) for kind in kinds}
        found = {}
        for kind in kinds:
            try:
                evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in results]), kind)
            except AssertionError as error:
                raise InvalidSetting(f"{annotations}: {error}") from None
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            found[kind] = _figures(evaluation, truth.cats.values())
    return found


def average_precision(model: Model, truth: CocoSet, max_pixels: int) -> dict[str, float]:
    """AP over IoU 0.50 to 0.95 of `boxes` and, if the model has them, `masks`: 0 to 1.

    Raises InvalidSetting if pycocotools is not installed, or the annotations cannot be read.
    """
    require_pycocotools()
    figures = measure(truth.annotations, list(_results(model, truth, max_pixels)))
    kinds = ("boxes", "masks") if model.metadata.has_masks else ("boxes",)
    found = {KINDS[kind]: figure.numbers["AP"] for kind, figure in figures.items()}
    return {kind: found.get(kind, 0.0) for kind in kinds}


def plot(figures: Mapping[str, Figures], file: Path) -> None:
    """Draw precision against recall. Raises InvalidSetting without matplotlib, and OSError."""
    matplotlib = required("matplotlib.figure", "maskrcnn-server[evaluate]")
    drawing = matplotlib.Figure(figsize=(5 * len(figures), 4.2), layout="constrained")
    panels = drawing.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    recalls = np.linspace(0, 1, 101)
    for axes, (kind, figure) in zip(panels, figures.items(), strict=True):
        for name, precision in figure.curves.items():
            axes.plot(recalls, precision, label=name)
        axes.set(title=f"{KINDS[kind]}: AP {figure.numbers['AP']:.3f}", xlabel="recall")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if figure.curves:
            axes.legend(loc="lower left")
    panels[0].set(ylabel="precision, mean of the categories")
    drawing.savefig(file)


def _figures(evaluation: Any, categories: Any) -> Figures:
    # Of IoUs, recalls, categories, areas (0: all) and limits of detections (2: 100).
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    names = {category["id"]: category["name"] for category in categories}
    per_category = {
        str(names[category]): _mean(precision[:, :, k])
        for k, category in enumerate(evaluation.params.catIds)
    }
    present = precision[:, :, (precision > -1).all(axis=(0, 1))]
    curves = {}
    if present.size:
        curves = {name: present[i].mean(axis=1) for name, i in IOUS.items()}
        curves["IoU 0.50 to 0.95"] = present.mean(axis=(0, 2))
    return Figures(
        dict(zip(NUMBERS, map(float, evaluation.stats), strict=True)), per_category, curves
    )


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def _nothing_found(categories: Any) -> Figures:
    per_category = {str(category["name"]): 0.0 for category in categories}
    return Figures(dict.fromkeys(NUMBERS, 0.0), per_category, {})


def _results(model: Model, truth: CocoSet, max_pixels: int) -> Iterator[CocoResult]:
    options = PredictOptions(score_threshold=SCORE_THRESHOLD)
    for image_id, image in truth.pictures(max_pixels):
        (found,) = model.predict([image], options)
        prediction = Prediction(
            image_id=str(image_id), image=image, detections=found, model=model.metadata
        )
        yield from coco_results(prediction)
