"""Detections of a model in one image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
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
        broken = next(self._broken_rules(), None)
        if broken is not None:
            raise ValueError(f"detections break a rule: {broken}")

    def __len__(self) -> int:
        return len(self.scores)

    def of_categories(self, category_ids: Collection[int], limit: int | None) -> Detections:
        """Detections of these categories, at most `limit` (None: all)."""
        places = np.flatnonzero(np.isin(self.category_ids, list(category_ids)))[:limit]
        return replace(
            self,
            boxes=self.boxes[places],
            scores=self.scores[places],
            category_ids=self.category_ids[places],
            masks=None if self.masks is None else self.masks.take(places),
        )

    def _broken_rules(self) -> Iterator[str]:
        """Each rule that is broken, and by what; types before values."""
        n = len(self.scores)
        if len([*self.size]) != 2:
            yield f"size is (height, width): got {self.size}"
        arrays: Sequence[tuple[str, object, tuple[int, ...], type[np.generic]]] = (
            ("boxes are float32 (N, 4)", self.boxes, (n, 4), np.float32),
            ("scores are float32 (N,)", self.scores, (n,), np.float32),
            ("category ids are int64 (N,)", self.category_ids, (n,), np.int64),
        )
        for rule, given, shape, kind in arrays:
            if not isinstance(given, np.ndarray):
                yield f"{rule}: got a {type(given).__name__}"
            elif given.shape != shape or given.dtype != kind:
                yield f"{rule}: got {given.dtype} {given.shape}, and there are {n} scores"
        yield from self._broken_values()
        if self.masks is None:
            return
        if not hasattr(self.masks, "rle"):
            yield (
                "masks are BitMasks, RunLengthMasks, RoiMasks or other Masks: "
                f"got a {type(self.masks).__name__}"
            )
        if len(self.masks) != n:
            yield f"there is a mask for each box: got {len(self.masks)} masks and {n} boxes"
        if self.masks.size != self.size:
            yield f"masks are of the image's size, {self.size}: got {self.masks.size}"

    def _broken_values(self) -> Iterator[str]:
        height, width = self.size
        corners = self.boxes.reshape(-1, 2, 2)
        boxes, scores = self.boxes, self.scores
        finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
        ordered = (corners[:, 0] <= corners[:, 1]).all(1)
        inside = ((corners >= 0) & (corners <= (width, height))).all((1, 2))
        for rule, kept, values in (
            ("boxes and scores are finite", finite, np.c_[boxes, scores]),
            ("scores are from 0 to 1", (scores >= 0) & (scores <= 1), scores),
            ("scores descend", np.r_[True, np.diff(scores) <= 0][: len(scores)], scores),
            ("category ids begin at 1", self.category_ids >= 1, self.category_ids),
            ("boxes have x1 <= x2 and y1 <= y2", ordered, boxes),
            (f"boxes are inside the image of {width} x {height} pixels", inside, boxes),
        ):
            if not kept.all():
                worst = int(np.argmin(kept))
                yield f"{rule}: number {worst} (from 0) is {values[worst].tolist()}"
