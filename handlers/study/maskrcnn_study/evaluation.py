"""Average precision as COCO measures it (Lin et al. 2014), by pycocotools."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_handlers.formats.coco_results import CocoResult, coco_results
from maskrcnn_server.backend import Model, ModelMetadata, PredictOptions
from maskrcnn_server.formats import Prediction
from maskrcnn_server.optional import required
from maskrcnn_study.annotations import CocoSet
from maskrcnn_study.matching import Matching, matched

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
class Figures:
    """Quality of boxes or masks; -1 where nothing is annotated."""

    numbers: Mapping[str, float]
    """COCO's twelve numbers."""
    per_category: Mapping[str, float]
    """AP by category name."""
    curves: Mapping[str, NDArray[np.float64]]
    """Precision (101,) at recalls 0, 0.01 ... 1, averaged over the categories."""


def require_pycocotools() -> None:
    """Raise InvalidSetting if it is not installed."""
    required("pycocotools.cocoeval", "maskrcnn-server[evaluate]")


def measure(truth: CocoSet, results: Sequence[CocoResult]) -> dict[str, Figures]:
    """Quality of COCO results with the annotations' ids: of `bbox`, and of `segm` if both have
    masks.

    Raises InvalidSetting if pycocotools is not installed.
    """
    require_pycocotools()
    has_masks = truth.has_masks and any("segmentation" in result for result in results)
    measured = {"bbox": truth.content} | ({"segm": truth.of_masks()} if has_masks else {})
    return {kind: _measured(content, results, kind) for kind, content in measured.items()}


def average_precision(
    model: Model, truth: CocoSet, max_pixels: int, count: Callable[[], None]
) -> dict[str, float]:
    """AP over IoU 0.50 to 0.95 of `boxes` and, if the model has them, `masks`: 0 to 1.

    `count` is called after each image.

    Raises InvalidSetting if pycocotools is not installed, or model and annotations have no class in
    common; InvalidImage for an image that cannot be read.
    """
    require_pycocotools()
    matching = classes_of(model.metadata, truth)
    figures = measure(truth, list(matching.renumbered(_results(model, truth, max_pixels, count))))
    kinds = ("boxes", "masks") if model.metadata.has_masks and truth.has_masks else ("boxes",)
    found = {KINDS[kind]: figure.numbers["AP"] for kind, figure in figures.items()}
    return {kind: found.get(kind, 0.0) for kind in kinds}


def classes_of(metadata: ModelMetadata, truth: CocoSet) -> Matching:
    """The model's classes in the annotations. Raises InvalidSetting if they have none in common."""
    names = {category.dataset_id: category.name for category in metadata.categories}
    return matched(names, truth.categories)


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


def _measured(content: Mapping[str, Any], results: Sequence[CocoResult], kind: str) -> Figures:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        return _nothing_found(content["categories"])
    # It prints as it goes, and changes the objects that it is given.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {**content, "annotations": [{**a} for a in content["annotations"]]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in results]), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return _figures(evaluation, content["categories"])


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


def _results(
    model: Model, truth: CocoSet, max_pixels: int, count: Callable[[], None]
) -> Iterator[CocoResult]:
    options = PredictOptions(score_threshold=SCORE_THRESHOLD)
    for image_id, image in truth.decoded(max_pixels):
        (found,) = model.predict([image], options)
        prediction = Prediction(
            image_id=str(image_id), image=image, detections=found, model=model.metadata
        )
        yield from coco_results(prediction)
        count()
