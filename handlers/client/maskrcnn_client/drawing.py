"""Masks, boxes and labels over an image, drawn by supervision."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskrcnn_client.libraries import pillow, required

if TYPE_CHECKING:
    import PIL.Image


def drawn(
    image: "PIL.Image.Image",
    boxes: NDArray[np.float32],
    masks: Iterable[NDArray[np.bool_]],
    category_ids: NDArray[np.int64],
    labels: Sequence[str],
) -> "PIL.Image.Image":
    """The image with each instance in its category's colour. Raises NotInstalled."""
    sv = required("supervision", "supervision", "draw", "drawing")
    # It works on OpenCV's BGR, and in place.
    scene = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    thickness = sv.calculate_optimal_line_thickness(image.size)
    # One mask at a time: a hundred of a photograph of 12 megapixels are 1.2 GB.
    for box, mask, category in zip(boxes, masks, category_ids, strict=False):
        one = sv.Detections(xyxy=box[None], mask=mask[None], class_id=category[None])
        scene = sv.MaskAnnotator().annotate(scene, one)
    instances = sv.Detections(xyxy=boxes, class_id=category_ids)
    scene = sv.BoxAnnotator(thickness=thickness).annotate(scene, instances)
    # Smart: inside the image, and not over one another.
    annotator = sv.LabelAnnotator(
        text_scale=sv.calculate_optimal_text_scale(image.size),
        text_thickness=thickness,
        text_padding=4,
        smart_position=True,
    )
    scene = annotator.annotate(scene, instances, labels=labels)
    drawing: PIL.Image.Image = pillow("drawing").Image.fromarray(scene[:, :, ::-1])
    return drawing
