"""Differences between what two models, or two servers, find in the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskrcnn_predict.predictors import ImageResult
from maskrcnn_server.agreement import mask_ious
from maskrcnn_study.matching import pairs_of_names

MIN_IOU = 0.5
"""Minimum IoU of the boxes of two detections that match."""


@dataclass(frozen=True)
class Difference:
    """How two results for one image differ."""

    pairs: list[tuple[int, int]]
    """Indices of detections in both, of one category's name, whose boxes overlap."""
    only_a: list[int]
    only_b: list[int]
    score_drifts: NDArray[np.float64]
    """B's score less A's, of each pair."""
    box_ious: NDArray[np.float64]
    mask_ious: NDArray[np.float64]
    """IoU of the masks of each pair; empty if either result has no masks."""

    @property
    def disagreement(self) -> float:
        """0 for none; 1 for each detection that only one has, less for pairs that differ."""
        return (
            len(self.only_a)
            + len(self.only_b)
            + float(np.abs(self.score_drifts).sum())
            + float((1 - self.box_ious).sum())
            + float((1 - self.mask_ious).sum())
        )


@dataclass
class Totals:
    """Sums over all images that were compared."""

    images: int = 0
    matched: int = 0
    only_a: int = 0
    only_b: int = 0
    score_drifts: list[float] = field(default_factory=list)
    box_ious: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)
    names_a: dict[int, str] = field(default_factory=dict)
    """Names of the classes that A detected, by ids."""
    names_b: dict[int, str] = field(default_factory=dict)

    def add_names(self, a: ImageResult, b: ImageResult) -> None:
        """Add the names of what A and B detected in an image."""
        self.names_a.update(a.names_by_id)
        self.names_b.update(b.names_by_id)

    def add(self, difference: Difference) -> None:
        """Add an image."""
        self.images += 1
        self.matched += len(difference.pairs)
        self.only_a += len(difference.only_a)
        self.only_b += len(difference.only_b)
        self.score_drifts += difference.score_drifts.tolist()
        self.box_ious += difference.box_ious.tolist()
        self.mask_ious += difference.mask_ious.tolist()

    @property
    def agreement(self) -> float:
        """Share of all detections that both have; 1 if there are none."""
        total = self.matched + self.only_a + self.only_b
        return self.matched / total if total else 1.0

    @property
    def notes(self) -> list[str]:
        """Sentences about classes that only one side has, or names in another way."""
        same = pairs_of_names(self.names_a, self.names_b)
        only_a = sorted({*self.names_a.values()} - {*same})
        only_b = sorted({*self.names_b.values()} - {*same.values()})
        notes = [
            f"only {side} detected {', '.join(map(repr, only))}"
            for side, only in (("A", only_a), ("B", only_b))
            if only
        ]
        notes += [f"A's {a!r} is taken for B's {b!r}" for a, b in same.items() if a != b]
        return sorted(notes)

    def figures(self) -> dict[str, float]:
        """The totals as numbers."""
        drifts = np.abs(self.score_drifts)
        return {
            "pictures": self.images,
            "matched": self.matched,
            "only A": self.only_a,
            "only B": self.only_b,
            "agreement": self.agreement,
            **_spread("score drift", drifts, worst=1.0),
            "score drift, signed mean": float(np.mean(self.score_drifts)) if len(drifts) else 0.0,
            **_spread("box IoU", np.array(self.box_ious), worst=0.0),
            **_spread("mask IoU", np.array(self.mask_ious), worst=0.0),
        }


def difference(a: ImageResult, b: ImageResult, min_iou: float = MIN_IOU) -> Difference:
    """Match what overlaps most first, one to one."""
    ious = box_ious(a.detections.boxes, b.detections.boxes)
    same = pairs_of_names(a.names_by_id, b.names_by_id)
    for row, name in zip(ious, a.names, strict=True):
        row[[same.get(name) != other for other in b.names]] = 0
    remaining = ious.copy()
    pairs = []
    while remaining.size and remaining.max() >= min_iou:
        i, j = divmod(int(remaining.argmax()), remaining.shape[1])
        pairs.append((i, j))
        remaining[i, :] = remaining[:, j] = -1
    pairs.sort()
    ours, theirs = [i for i, _ in pairs], [j for _, j in pairs]
    return Difference(
        pairs=pairs,
        only_a=sorted(set(range(len(a))) - set(ours)),
        only_b=sorted(set(range(len(b))) - set(theirs)),
        score_drifts=b.detections.scores[theirs].astype(np.float64) - a.detections.scores[ours],
        box_ious=ious[ours, theirs],
        mask_ious=mask_ious(a.detections.masks, b.detections.masks, pairs),
    )


def box_ious(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    one, other = a[:, None].astype(np.float64), b[None].astype(np.float64)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=2) for boxes in (one, other)]
    union = areas[0] + areas[1] - both
    ious: NDArray[np.float64] = np.divide(both, union, out=np.zeros(union.shape), where=union > 0)
    return ious


def _spread(
    name: str, values: Sequence[float] | NDArray[np.float64], worst: float
) -> dict[str, float]:
    """Mean, 95th percentile towards the worst, and the worst (1: the largest)."""
    if not len(values):
        return {}
    percentile, end = (95, np.max) if worst else (5, np.min)
    return {
        f"{name}, mean": float(np.mean(values)),
        f"{name}, p{percentile}": float(np.percentile(values, percentile)),
        f"{name}, {'max' if worst else 'min'}": float(end(values)),
    }
