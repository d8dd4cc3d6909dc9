"""Holds what a backend finds against what the original code found (see ../NOTICE.md)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from numpy.typing import NDArray

from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.plugins import installed

MaskBoxes: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]

BOX_TOLERANCE = 0.02
"""Pixels of the original image."""
PROPOSAL_TOLERANCE = 0.05
"""Pixels of the resized image."""


def _as_they_are(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return boxes


def assert_reproduced(
    outputs: Path | Mapping[str, NDArray[Any]],
    image: Image,
    found: Detections,
    score_tolerance: float,
    scale: NDArray[np.float32],
    mask_boxes: MaskBoxes = _as_they_are,
) -> None:
    """`found`, with proposals, is what the original code found in `image`: `outputs`, or its file.

    `scale` (4,) is how many pixels the network saw for one, in x, y, x, y; `mask_boxes` is where
    the original pastes masks, if not in their boxes. Every detection has its twin and no other is
    there; scores within the tolerance; masks with a mean IoU of 0.9995 and none below 0.99, ties
    aside; 99.5 % of the proposals have a twin.
    """
    golden = dict(np.load(outputs) if isinstance(outputs, Path) else outputs)
    reference = _reference(golden, image)
    result = compare(found, reference, BOX_TOLERANCE)
    assert not result.missing, "the original found more"
    assert not result.surplus, "the original found less"
    assert result.score_differences.max(initial=0) <= score_tolerance
    assert (found.masks is None) == (reference.masks is None)
    if reference.masks is not None:
        settled = _ties_settled(found, reference, golden, result.pairs, mask_boxes)
        ious = compare(found, settled, BOX_TOLERANCE).mask_ious
        assert ious.mean() >= 0.9995
        assert ious.min() >= 0.99
    key = "raw_proposal_boxes" if "raw_proposal_boxes" in golden else "proposal_boxes"
    _assert_same_proposals(found, golden[key].reshape(-1, 4), scale)


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
    mask_boxes: MaskBoxes,
) -> Detections:
    """`reference`, with what we found in pixels that are a tie.

    One pixel is three percent of a mask of 32 pixels, which astronaut.png has: masks of
    32, 63 and 66 pixels differ in one pixel each. In the original's own soft masks those
    pixels are within 0.0004 of the threshold.
    """
    assert found.masks is not None
    assert isinstance(reference.masks, BitMasks)
    ours, ties = found.masks.rle("rows"), _ties(golden, reference, mask_boxes)
    bitmaps = reference.masks.bitmaps.copy()
    for i, j in pairs:
        bitmaps[j] = np.where(ties[j], ours[i].bitmap(), bitmaps[j])
    return replace(reference, masks=BitMasks(bitmaps))


def _ties(
    golden: dict[str, NDArray[Any]], reference: Detections, mask_boxes: MaskBoxes
) -> list[NDArray[np.bool_]]:
    """Pixels whose probability in the original's soft mask is within 0.001 of the threshold.

    Where masks are pasted on whole pixels, also those that half a thousandth of a pixel decides:
    in astronaut.png torchvision cuts 320.99994 off to 320.
    """
    soft = golden["raw_masks" if "raw_masks" in golden else "mask_probs"]
    soft = soft[np.argsort(-golden["scores"], kind="stable")].astype(np.float32)
    shifts = [0.0] if mask_boxes is _as_they_are else [0.0, -5e-4, 5e-4]
    pasted = [
        RoiMasks(soft, mask_boxes(boxes), reference.size, threshold).rle("rows")
        for threshold in (0.499, 0.501)
        for boxes in (reference.boxes + np.float32(shift) for shift in shifts)
    ]
    return [_undecided([mask.bitmap() for mask in ways]) for ways in zip(*pasted, strict=True)]


def _undecided(bitmaps: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    votes = np.sum(bitmaps, axis=0)
    return np.asarray((votes > 0) & (votes < len(bitmaps)))


def _assert_same_proposals(
    found: Detections, network_boxes: NDArray[np.float32], scale: NDArray[np.float32]
) -> None:
    assert found.proposals is not None
    boxes = _clipped(network_boxes / scale, found.size)
    ours = found.proposals.boxes
    distances = np.abs(boxes[:, None] - ours[None]).max(axis=2).min(axis=1)
    assert len(ours) == len(boxes)
    assert (distances <= PROPOSAL_TOLERANCE / scale.max()).mean() >= 0.995


def on_engines(kinds: Sequence[str]) -> Iterator[ParameterSet]:
    """Every kind of network on every engine; those that are not the default one take longer."""
    for kind in kinds:
        for engine in sorted(installed().engines()):
            marks = [] if engine == "openvino" else [pytest.mark.full]
            yield pytest.param(kind, engine, marks=marks, id=f"{kind}-{engine}")
