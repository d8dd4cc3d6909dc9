"""Masks, boxes and labels over a photograph, drawn by supervision."""

from collections.abc import Sequence

import numpy as np
import PIL.Image

from maskrcnn_server.detections import Detections
from maskrcnn_server.optional import required


def drawn(picture: PIL.Image.Image, found: Detections, names: Sequence[str]) -> PIL.Image.Image:
    """The picture with each instance in its category's colour, the best on top.

    Raises InvalidSetting without supervision.
    """
    sv = required("supervision", "maskrcnn-server[draw]")
    # It works on OpenCV's BGR, and in place.
    scene = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
    size = (picture.width, picture.height)
    thickness = sv.calculate_optimal_line_thickness(size)
    scale = sv.calculate_optimal_text_scale(size)
    # One mask at a time: a hundred of a photograph of 12 megapixels are 1.2 GB.
    masks = [] if found.masks is None else found.masks.rle("columns")
    for i, mask in reversed(list(enumerate(masks))):
        one = sv.Detections(
            xyxy=found.boxes[i : i + 1],
            mask=mask.bitmap()[None],
            class_id=found.category_ids[i : i + 1],
        )
        scene = sv.MaskAnnotator().annotate(scene, one)
    boxes = sv.Detections(xyxy=found.boxes, class_id=found.category_ids)
    scene = sv.BoxAnnotator(thickness=thickness).annotate(scene, boxes)
    labels = [f"{name} {score:.2f}" for name, score in zip(names, found.scores, strict=True)]
    # Smart: inside the picture, and not over one another.
    annotator = sv.LabelAnnotator(
        text_scale=scale, text_thickness=thickness, text_padding=4, smart_position=True
    )
    scene = annotator.annotate(scene, boxes, labels=labels)
    return PIL.Image.fromarray(scene[:, :, ::-1])
