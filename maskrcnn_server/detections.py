"""Detections of a model in one image."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskrcnn_server.masks import Masks
from maskrcnn_server.rle import Size


@dataclass(frozen=True, eq=False)
class Proposals:
    """Regions that the first stage of a detector proposed.

    `boxes` float32 (P, 4) absolute x1, y1, x2, y2 in the original image; `scores` float32 (P,) as
    the network ranks them; `class_scores` float32 (P, 1 + classes), column 0 the background.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detections:
    """N instances in an image of `size` (height, width), best first.

    `boxes` float32 (N, 4) absolute x1, y1, x2, y2 in the original image and inside it; `scores`
    float32 (N,) in 0..1, descending; `category_ids` int64 (N,), from 1; `masks` of N instances,
    None from a model without masks or for a request without; `proposals` if requested.

    Raises ValueError, naming the rule, on construction if a rule is broken.
    """

    size: Size
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    category_ids: NDArray[np.int64]
    masks: Masks | None = None
    proposals: Proposals | None = None

    def __post_init__(self) -> None:
        for rule, kept in self._rules().items():
            if not kept:
                raise ValueError(f"detections break a rule: {rule}")

    def __len__(self) -> int:
        return len(self.scores)

    def of_categories(self, category_ids: Collection[int], limit: int | None) -> "Detections":
        """Detections of these categories, at most `limit` (None: all)."""
        places = np.flatnonzero(np.isin(self.category_ids, list(category_ids)))[:limit]
        return replace(
            self,
            boxes=self.boxes[places],
            scores=self.scores[places],
            category_ids=self.category_ids[places],
            masks=None if self.masks is None else self.masks.take(places),
        )

    def _rules(self) -> dict[str, bool]:
        n = len(self.scores)
        height, width = self.size
        shapes = {
            "boxes are float32 (N, 4)": self.boxes.shape == (n, 4)
            and self.boxes.dtype == np.float32,
            "scores are float32 (N,)": self.scores.shape == (n,)
            and self.scores.dtype == np.float32,
            "category ids are int64 (N,)": self.category_ids.shape == (n,)
            and self.category_ids.dtype == np.int64,
        }
        if not all(shapes.values()):
            return shapes
        corners = self.boxes.reshape(-1, 2, 2)
        return {
            "boxes and scores are finite": bool(
                np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()
            ),
            "scores are from 0 to 1": bool(((self.scores >= 0) & (self.scores <= 1)).all()),
            "scores descend": bool((np.diff(self.scores) <= 0).all()),
            "category ids begin at 1": bool((self.category_ids >= 1).all()),
            "boxes have x1 <= x2 and y1 <= y2": bool((corners[:, 0] <= corners[:, 1]).all()),
            "boxes are inside the image": bool(
                (corners >= 0).all() and (corners <= (width, height)).all()
            ),
            "there is a mask for each box": self.masks is None or len(self.masks) == n,
            "masks are of the image's size": self.masks is None or self.masks.size == self.size,
        }
