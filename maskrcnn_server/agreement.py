"""Comparison of detections with those of another implementation of the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.masks import Masks


@dataclass(frozen=True)
class Comparison:
    """Which detections match, and how far apart the matches are."""

    pairs: list[tuple[int, int]]
    """Index pairs (found, reference): same category, nearest box."""
    surplus: list[int]
    """Indices of found detections without a match."""
    missing: list[int]
    """Indices of reference detections without a match."""
    box_distances: NDArray[np.float64]
    """Largest difference of a coordinate of each pair, in pixels of the original image."""
    score_differences: NDArray[np.float64]
    mask_ious: NDArray[np.float64]
    """Intersection over union of each pair's bitmaps; 1 where both are empty. Empty if unmasked."""


def compare(found: Detections, reference: Detections, box_tolerance: float) -> Comparison:
    """Match detections of the same category one to one, within `box_tolerance` pixels.

    The nearest in box and score are matched first.
    """
    distances = np.abs(
        found.boxes[:, None].astype(np.float64) - reference.boxes[None].astype(np.float64)
    ).max(axis=2, initial=0)
    distances[found.category_ids[:, None] != reference.category_ids[None]] = np.inf
    distances[distances > box_tolerance] = np.inf
    pairs = []
    # Where boxes coincide, the score decides.
    remaining = distances / box_tolerance + np.abs(found.scores[:, None] - reference.scores[None])
    while remaining.size and np.isfinite(remaining.min()):
        i, j = divmod(int(remaining.argmin()), remaining.shape[1])
        pairs.append((i, j))
        remaining[i, :] = remaining[:, j] = np.inf
    pairs.sort()
    ours, theirs = [i for i, _ in pairs], [j for _, j in pairs]
    return Comparison(
        pairs=pairs,
        surplus=sorted(set(range(len(found))) - set(ours)),
        missing=sorted(set(range(len(reference))) - set(theirs)),
        box_distances=distances[ours, theirs],
        score_differences=np.abs(
            found.scores[ours].astype(np.float64) - reference.scores[theirs].astype(np.float64)
        ),
        mask_ious=mask_ious(found.masks, reference.masks, pairs),
    )


def mask_ious(
    found: Masks | None, reference: Masks | None, pairs: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Intersection over union of each pair's bitmaps; empty if either has no masks."""
    if found is None or reference is None:
        return np.zeros(0)
    ours, theirs = found.rle("columns"), reference.rle("columns")
    ious = []
    for i, j in pairs:
        both = ours[i].intersection(theirs[j])
        union = ours[i].area + theirs[j].area - both
        ious.append(1.0 if union == 0 else both / union)
    return np.array(ious)
