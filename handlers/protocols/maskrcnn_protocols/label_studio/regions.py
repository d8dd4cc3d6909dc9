"""Predictions of Label Studio: the regions in one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from maskrcnn_annotation_formats.label_studio import Region, brushes, polygons, rectangle

if TYPE_CHECKING:
    from maskrcnn_protocols.collected import Found
    from maskrcnn_protocols.label_studio.labelling import Control
    from maskrcnn_server.rle import RLE


def prediction(found: Found, controls: Sequence[Control], version: str) -> dict[str, Any]:
    """The prediction of a task, with the instances whose classes have labels, in each control.

    The score is the mean of the instances' scores, 0 without any.
    """
    regions: list[dict[str, object]] = []
    scores: list[float] = []
    detections = found.detections
    names = {category.id: category.name for category in found.model.categories}
    masks: Sequence[RLE | None] = [None] * len(detections)
    if detections.masks is not None:
        masks = detections.masks.rle("rows")
    height, width = detections.size
    for number, mask in enumerate(masks):
        name = names[int(detections.category_ids[number])]
        score = float(detections.scores[number])
        labels = [(one, label) for one in controls if (label := one.label(name)) is not None]
        scores += [score] if labels else []
        for control, label in labels:
            for part, (kind, value) in enumerate(_drawn(control, found, number, mask)):
                regions.append(
                    {
                        "id": f"{control.name}-{number + 1}-{part + 1}",
                        "type": kind,
                        "from_name": control.name,
                        "to_name": control.to_name,
                        "original_width": width,
                        "original_height": height,
                        "image_rotation": 0,
                        "score": score,
                        "value": value | {kind: [label]},
                    }
                )
    mean = sum(scores) / len(scores) if scores else 0.0
    return {"model_version": version, "score": mean, "result": regions}


def _drawn(control: Control, found: Found, number: int, mask: RLE | None) -> Iterator[Region]:
    """The regions of an instance that a control can draw."""
    if control.kind == "rectanglelabels":
        yield rectangle(found.detections.boxes[number], found.detections.size)
    elif mask is not None and mask.area:
        yield from brushes(mask) if control.kind == "brushlabels" else polygons(mask)
