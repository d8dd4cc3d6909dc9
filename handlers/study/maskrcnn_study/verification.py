"""Comparison of what two models compute for an image, to find where they diverge."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.agreement import compare
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RoiMasks
from maskrcnn_server.trace import Floats, Trace

SAME_PIXEL = 1
"""Levels of 255 by which builds of a resize may differ."""
SAME_FEATURE = 1e-3
"""Share of a feature map's largest value."""
SAME_BOX = 0.05
"""Distance in pixels of the network's input."""
SAME_SCORE = 1e-3
NEXT_PIXEL = 1.05
"""Distance in pixels of the image for boxes whose corner and size are truncated to integers."""
SAME_PROBABILITY = 2e-3
"""Probability of a mask pixel; one this near to the threshold is a tie."""
ENOUGH = 0.995
"""Minimum share of equal proposals: among near ties, noise decides which ones are kept."""


@dataclass(frozen=True)
class Finding:
    """Comparison of one stage of two models."""

    stage: str
    same: bool
    """Whether the differences are within the noise of floating-point sums."""
    figures: Mapping[str, float]


def verify(found: Trace, reference: Trace) -> list[Finding]:
    """Compare each stage of `found` with that of `reference`, in order of computation.

    After a stage that differs, later stages say little.
    """
    return [Finding(name, *judge(found, reference)) for name, judge in STAGES.items()]


def verify_answer(answer: Detections, reference: Trace, found: Detections | None = None) -> Finding:
    """Compare a reply, with boxes in whole pixels, with the reference.

    `found` is what the reply was made from, if known.
    """
    expected = replace(reference.detections, boxes=_cut_off(reference.detections.boxes))
    result = compare(answer, expected, NEXT_PIXEL)
    alone, missing = _decided(answer.scores, result.surplus, result.missing, reference)
    apart = float(result.score_differences.max(initial=0))
    boxes = None if found is None else found.boxes
    masks_same, figures = _mask_differences(answer, boxes, reference, result.pairs)
    same = not alone and not missing and apart <= SAME_SCORE and masks_same
    return Finding(
        "answer",
        same,
        {
            "instances": len(answer),
            "reference": len(reference.detections),
            "without a twin": len(alone) + len(missing),
            "largest difference of scores": apart,
            **figures,
        },
    )


def first_difference(findings: Sequence[Finding]) -> Finding | None:
    """First stage that differs; None if none does."""
    return next((finding for finding in findings if not finding.same), None)


Verdict: TypeAlias = tuple[bool, dict[str, float]]


def _resized(found: Trace, reference: Trace) -> Verdict:
    ours, theirs = found.resized, reference.resized
    if ours.shape != theirs.shape:
        return False, {
            "height": ours.shape[0],
            "width": ours.shape[1],
            "reference height": theirs.shape[0],
            "reference width": theirs.shape[1],
        }
    worst = int(np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).max(initial=0))
    return worst <= SAME_PIXEL, {"largest difference": worst}


def _features(found: Trace, reference: Trace) -> Verdict:
    if [f.shape for f in found.features] != [f.shape for f in reference.features]:
        return False, {
            "maps of one shape": sum(
                ours.shape == theirs.shape
                for ours, theirs in zip(found.features, reference.features, strict=False)
            )
        }
    relative = 0.0
    for ours, theirs in zip(found.features, reference.features, strict=True):
        scale = float(np.abs(theirs).max(initial=0)) or 1.0
        relative = max(relative, float(np.abs(ours - theirs).max(initial=0)) / scale)
    return relative <= SAME_FEATURE, {"largest difference, of the largest value": relative}


def _proposals(found: Trace, reference: Trace) -> Verdict:
    distances, _ = _nearest(found.proposals, reference.proposals)
    back, _ = _nearest(reference.proposals, found.proposals)
    shares = [float((d <= SAME_BOX).mean()) if len(d) else 1.0 for d in (distances, back)]
    same = min(shares) >= ENOUGH and len(found.proposals) == len(reference.proposals)
    return same, {
        "proposals": len(found.proposals),
        "reference": len(reference.proposals),
        "share with a twin": min(shares),
    }


def _class_scores(found: Trace, reference: Trace) -> Verdict:
    distances, twins = _nearest(found.proposals, reference.proposals)
    matched = np.flatnonzero(distances <= SAME_BOX)
    if found.class_scores.shape[1:] != reference.class_scores.shape[1:] or not len(matched):
        return False, {"proposals compared": 0}
    apart = np.abs(found.class_scores[matched] - reference.class_scores[twins[matched]])
    worst = apart.max(axis=1)
    share = float((worst <= SAME_SCORE).mean())
    return share >= ENOUGH, {
        "proposals compared": len(matched),
        "share with equal scores": share,
        "median difference": float(np.median(worst)),
        "largest difference": float(worst.max()),
    }


def _boxes(found: Trace, reference: Trace) -> Verdict:
    pairs, alone, missing = _twins(found, reference)
    ours, theirs = [i for i, _ in pairs], [j for _, j in pairs]
    apart = np.abs(found.boxes[ours] - reference.boxes[theirs]).max(initial=0)
    scores = np.abs(found.scores[ours] - reference.scores[theirs]).max(initial=0)
    same = not alone and not missing and float(scores) <= SAME_SCORE
    return same, {
        "detections": len(found.boxes),
        "reference": len(reference.boxes),
        "without a twin": len(alone) + len(missing),
        "largest distance in pixels": float(apart),
        "largest difference of scores": float(scores),
    }


def _soft_masks(found: Trace, reference: Trace) -> Verdict:
    """Comparison of soft masks, in the reference's boxes if available: a hundredth of a pixel shows
    in a mask."""
    if found.soft_masks is None or reference.soft_masks is None:
        return found.soft_masks is reference.soft_masks, {"masks": 0}
    if found.soft_masks.shape[1:] != reference.soft_masks.shape[1:]:
        return False, {"side": found.soft_masks.shape[1]}
    if found.mask is not None:
        ours, theirs = found.mask(reference.boxes, reference.labels), reference.soft_masks
    else:
        pairs, _, _ = _twins(found, reference)
        ours = found.soft_masks[[i for i, _ in pairs]]
        theirs = reference.soft_masks[[j for _, j in pairs]]
    worst = np.abs(ours - theirs).max(initial=0)
    return float(worst) <= SAME_PROBABILITY, {
        "masks": len(ours),
        "largest difference of probabilities": float(worst),
    }


def _pasted_masks(found: Trace, reference: Trace) -> Verdict:
    pairs, _, _ = _twins(found, reference)
    return _mask_differences(found.detections, found.detections.boxes, reference, pairs)


def _mask_differences(
    found: Detections, boxes: Floats | None, reference: Trace, pairs: list[tuple[int, int]]
) -> Verdict:
    """Whether the masks of matching detections differ only in ties; `boxes` are those the masks
    were pasted in, if known."""
    ours, theirs = found.masks, reference.detections.masks
    if ours is None or theirs is None or reference.soft_masks is None:
        return ours is theirs, {"masks": 0}
    mine, other = ours.rle("rows"), theirs.rle("rows")
    ious, decided, tied = [1.0], 0, 0
    for i, j in pairs:
        one, two = mine[i].bitmap(), other[j].bitmap()
        union = int((one | two).sum())
        ious.append(int((one & two).sum()) / union if union else 1.0)
        ties = _ties(reference, reference.soft_masks, j, None if boxes is None else boxes[i])
        decided += int(((one ^ two) & ~ties).sum())
        tied += int(((one ^ two) & ties).sum())
    return decided == 0, {
        "masks": len(pairs),
        "pixels that differ": decided + tied,
        "of these, ties": tied,
        "mean IoU": float(np.mean(ious[1:] or ious)),
        "least IoU": min(ious),
    }


STAGES: dict[str, Callable[[Trace, Trace], Verdict]] = {
    "resized picture": _resized,
    "features": _features,
    "proposals": _proposals,
    "class scores": _class_scores,
    "boxes": _boxes,
    "masks": _soft_masks,
    "pasted masks": _pasted_masks,
}
"""Comparisons by stage, in order of computation."""


def _cut_off(boxes: Floats) -> Floats:
    """Boxes with corner and size in whole pixels, as in the notebooks' format."""
    corners, sizes = np.trunc(boxes[:, :2]), np.trunc(boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def _twins(found: Trace, reference: Trace) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs with equal label and place, and unmatched detections of both sides, without borderline
    cases."""
    result = compare(_as_detections(found), _as_detections(reference), SAME_BOX)
    alone, missing = _decided(found.scores, result.surplus, result.missing, reference)
    return result.pairs, alone, missing


def _decided(
    scores: Floats, surplus: list[int], missing: list[int], reference: Trace
) -> tuple[list[int], list[int]]:
    """Unmatched detections that are not borderline."""
    return (
        [i for i in surplus if not _is_borderline(float(scores[i]), reference.scores, reference)],
        [j for j in missing if not _is_borderline(float(reference.scores[j]), scores, reference)],
    )


def _is_borderline(score: float, others: Floats, reference: Trace) -> bool:
    """Whether noise decides if a detection that `others` lack is kept: its score is at the minimum,
    or at the end of a full list."""
    full = len(others) >= reference.limit and len(others) > 0
    least = float(others.min()) if full else reference.min_score
    return score <= least + SAME_SCORE


def _as_detections(trace: Trace) -> Detections:
    """Detections in the resized image; rounding may move boxes out of it."""
    height, width = trace.resized.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    return Detections(
        size=(height, width),
        boxes=np.clip(trace.boxes, 0, limits),
        scores=trace.scores,
        category_ids=trace.labels,
    )


def _ties(trace: Trace, soft_masks: Floats, index: int, box: Floats | None) -> NDArray[np.bool_]:
    """Pixels of one mask that noise decides: the probability is within the tolerance of 0.5, or the
    difference to `box`, in which the other mask was pasted, decides."""
    places = [trace.detections.boxes[index]] + ([] if box is None else [box])
    pasted = [
        RoiMasks(soft_masks[index][None], place[None], trace.detections.size, threshold)
        for place in places
        for threshold in (0.5 - SAME_PROBABILITY, 0.5 + SAME_PROBABILITY)
    ]
    votes = np.sum([masks.rle("rows")[0].bitmap() for masks in pasted], axis=0)
    return np.asarray((votes > 0) & (votes < len(pasted)))


def _nearest(boxes: Floats, others: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance of each box to the nearest other box (largest difference of a coordinate), and its
    index."""
    if not len(boxes) or not len(others):
        return np.full(len(boxes), np.inf), np.zeros(len(boxes), np.int64)
    distances, indices = zip(*_rows(boxes, others), strict=True)
    return np.array(distances), np.array(indices)


def _rows(boxes: Floats, others: Floats) -> Iterator[tuple[float, int]]:
    for box in boxes.astype(np.float64):
        apart = np.abs(others - box).max(axis=1)
        yield float(apart.min()), int(apart.argmin())
