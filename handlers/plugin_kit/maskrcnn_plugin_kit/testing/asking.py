"""What the checks ask of a model, and how they compare its answers."""

from dataclasses import replace
from typing import Any

import numpy as np

from maskrcnn_plugin_kit.testing.images import sample_image
from maskrcnn_server.agreement import compare, mask_ious
from maskrcnn_server.backend import Model, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_server.rle import Size

EVERYTHING = PredictOptions(score_threshold=0.0)
SCORES, PIXELS, MASK_IOU = 1e-4, 0.05, 0.99
"""Differences between answers that should be the same: of scores, boxes and masks."""


def ask(model: Model, size: Size = (160, 160), **options: Any) -> Detections:
    """Detections in the conformance image; all, or as the options say."""
    (answer,) = model.predict([sample_image(*size)], replace(EVERYTHING, **options))
    return answer


def bitmaps(answer: Detections) -> list[np.ndarray]:
    """Masks bool (height, width); none from an answer without masks."""
    return [] if answer.masks is None else [rle.bitmap() for rle in answer.masks.rle("rows")]


def assert_same(one: Detections, other: Detections, message: str) -> None:
    """Equal up to float noise."""
    assert len(one) == len(other), message
    assert (one.masks is None) == (other.masks is None), message
    message += (
        f"; allowed are {SCORES:g} in scores, {PIXELS:g} pixels in boxes, masks with an IoU above "
        f"{MASK_IOU:g}"
    )
    np.testing.assert_allclose(one.scores, other.scores, atol=SCORES, err_msg=message)
    result = compare(one, other, box_tolerance=PIXELS)
    assert not result.surplus, message
    assert not result.missing, message
    assert result.mask_ious.min(initial=1) > MASK_IOU, message


def assert_best(kept: Detections, of: Detections, message: str) -> None:
    """The first detections of another answer, up to float noise; masks where both have them."""
    count = len(kept)
    assert count <= len(of), message
    assert (kept.category_ids == of.category_ids[:count]).all(), message
    for name, part, whole, tolerance in (
        ("scores", kept.scores, of.scores, SCORES),
        ("boxes", kept.boxes, of.boxes, PIXELS),
    ):
        assert np.allclose(part, whole[:count], atol=tolerance), f"{message}; {name} differ"
    places = [(i, i) for i in range(count)]
    same = mask_ious(kept.masks, of.masks, places).min(initial=1) > MASK_IOU
    assert same, f"{message}; masks differ"
