"""Changes of a model's detections by another file or precision."""

from collections.abc import Callable

from rich.table import Table

from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, Model, PredictOptions
from maskrcnn_study.annotations import CocoSet
from maskrcnn_study.evaluation import average_precision

SAME_PLACE = 2.0
"""Maximum distance in pixels between boxes that count as equal."""


def change_in_ap(
    original: Model, converted: Model, truth: CocoSet, max_pixels: int, count: Callable[[], None]
) -> Table:
    """Table of the average precision of both models, and the change.

    `count` is called after each image of each model.
    """
    table = Table("average precision", "original", "converted", "change")
    before, after = (average_precision(m, truth, max_pixels, count) for m in (original, converted))
    for kind, value in before.items():
        table.add_row(kind, f"{value:.4f}", f"{after[kind]:.4f}", f"{after[kind] - value:+.4f}")
    return table


def agreement(
    original: Model, converted: Model, samples: list[Image], count: Callable[[], None]
) -> str:
    """Sentence about the agreement of both models on these images.

    `count` is called after each image.
    """
    matched = found = 0
    scores, ious = [0.0], [1.0]
    for image in samples:
        (before,), (after,) = (m.predict([image], PredictOptions()) for m in (original, converted))
        result = compare(after, before, SAME_PLACE)
        matched += len(result.pairs)
        found += max(len(before), len(after))
        scores += result.score_differences.tolist()
        ious += result.mask_ious.tolist()
        count()
    return (
        f"{matched} of {found} detections are the same in {len(samples)} sample pictures; scores "
        f"differ by {max(scores):.4f} at most, the least IoU of masks is {min(ious):.4f} "
        "(--coco and --images measure the change in AP)"
    )
