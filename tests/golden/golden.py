"""Holds what a backend finds against what the original code found (see ../NOTICE.md)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.backend import Image
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.testing.fidelity import compare

BOX_TOLERANCE = 0.02
"""Pixels of the original image."""
PROPOSAL_TOLERANCE = 0.05
"""Pixels of the resized image."""


def assert_reproduced(
    file: Path,
    image: Image,
    found: Detections,
    score_tolerance: float,
    resized: tuple[int, int],
) -> None:
    """`found`, with proposals, is what the original code found in `image`.

    `resized` is the height and width that the network saw. Every detection has its twin and no
    other is there; scores within the tolerance; masks with a mean IoU of 0.9995 and none below
    0.99, ties aside; 99.5 % of the proposals have a twin.
    """
    golden = dict(np.load(file))
    reference = _reference(golden, image)
    result = compare(found, reference, BOX_TOLERANCE)
    assert not result.missing, "the original found more"
    assert not result.surplus, "the original found less"
    assert result.score_differences.max(initial=0) <= score_tolerance
    assert (found.masks is None) == (reference.masks is None)
    if reference.masks is not None:
        settled = _ties_settled(found, reference, golden, result.pairs)
        ious = compare(found, settled, BOX_TOLERANCE).mask_ious
        assert ious.mean() >= 0.9995
        assert ious.min() >= 0.99
    key = "raw_proposal_boxes" if "raw_proposal_boxes" in golden else "proposal_boxes"
    _assert_same_proposals(found, golden[key].reshape(-1, 4), resized)


def _reference(golden: dict[str, NDArray[Any]], image: Image) -> Detections:
    """The original's answer; its masks as it pasted them."""
    packed = golden.get("masks_packed", golden.get("masks_accurate"))
    order = np.argsort(-golden["scores"], kind="stable")
    height, width = image.shape[:2]
    return Detections(
        size=(height, width),
        boxes=_clipped(golden["boxes"][order], (height, width)),
        scores=golden["scores"][order].astype(np.float32),
        category_ids=golden["class_ids"][order].astype(np.int64),
        masks=None
        if packed is None
        else BitMasks(np.unpackbits(packed[order], axis=2)[:, :, :width].astype(np.bool_)),
    )


def _clipped(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The original clips only x2 and y2 on the right and bottom: a box beyond them is inverted."""
    height, width = size
    return np.asarray(np.minimum(boxes, [width, height, width, height]), np.float32)


def _ties_settled(
    found: Detections,
    reference: Detections,
    golden: dict[str, NDArray[Any]],
    pairs: list[tuple[int, int]],
) -> Detections:
    """`reference`, with what we found in pixels that are a tie.

    One pixel is three percent of a mask of 32 pixels, which astronaut.png has: masks of
    32, 63 and 66 pixels differ in one pixel each. In the original's own soft masks those
    pixels are within 0.0004 of the threshold.
    """
    assert found.masks is not None
    assert isinstance(reference.masks, BitMasks)
    ours, ties = found.masks.rle("rows"), _ties(golden, reference)
    bitmaps = reference.masks.bitmaps.copy()
    for i, j in pairs:
        bitmaps[j] = np.where(ties[j], ours[i].bitmap(), bitmaps[j])
    return replace(reference, masks=BitMasks(bitmaps))


def _ties(golden: dict[str, NDArray[Any]], reference: Detections) -> list[NDArray[np.bool_]]:
    """Pixels whose probability in the original's soft mask is within 0.001 of the threshold."""
    soft = golden["raw_masks" if "raw_masks" in golden else "mask_probs"]
    soft = soft[np.argsort(-golden["scores"], kind="stable")].astype(np.float32)
    more, less = (
        RoiMasks(soft, reference.boxes, reference.size, threshold).rle("rows")
        for threshold in (0.499, 0.501)
    )
    return [m.bitmap() & ~few.bitmap() for m, few in zip(more, less, strict=True)]


def _assert_same_proposals(
    found: Detections, network_boxes: NDArray[np.float32], resized: tuple[int, int]
) -> None:
    assert found.proposals is not None
    height, width = found.size
    scale = np.sqrt(resized[0] / height * resized[1] / width)
    boxes = _clipped(network_boxes / scale, found.size)
    ours = found.proposals.boxes
    distances = np.abs(boxes[:, None] - ours[None]).max(axis=2).min(axis=1)
    assert len(ours) == len(boxes)
    assert (distances <= PROPOSAL_TOLERANCE / scale).mean() >= 0.995
