"""Outputs of NumPy, and how other outputs differ from them."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_network.engine import Integers, Output, RunOptions
from maskrcnn_network.preparation import Floats
from maskrcnn_network.testing.fake import FakeEngine, FakeSession
from maskrcnn_network.testing.networks import noisy_image, small_network
from maskrcnn_server.backend import Image
from maskrcnn_server.engine import Setup
from maskrcnn_server.rle import Size

BOX_TOLERANCE = 0.02
"""Allowed difference of a coordinate, in pixels of the network's input."""
SCORE_TOLERANCE = 2e-4
MASK_TOLERANCE = 1e-3
"""Allowed difference of a mask probability."""

IMAGES = (noisy_image(90, 120, 1), noisy_image(140, 80, 2))
"""Images in which no decision of the small networks is a near tie."""
EVERYTHING = RunOptions(score_threshold=0.05, limit=20, proposals=True)


def size_of(kind: str, image: Image) -> Size:
    """Height and width to which a small network resizes an image."""
    rule = small_network(kind).network.config.preparation
    return rule.resized_size((image.shape[0], image.shape[1]))


def batch_sizes(kind: str) -> tuple[Size, Size]:
    """Sizes of `IMAGES` that are padded alike, and differ where the network allows it."""
    pads = small_network(kind).network.config.preparation.multiple_of > 1
    return (96, 128), ((70, 101) if pads else (96, 128))


@cache
def reference(kind: str) -> FakeSession:
    """NumPy's session with a small network."""
    return FakeEngine().open(*small_network(kind), Setup(device="cpu", threads=1))


@cache
def expected(kind: str, index: int) -> Output:
    """NumPy's output for an image of `IMAGES`."""
    image = IMAGES[index]
    return reference(kind).run([image], [size_of(kind, image)], EVERYTHING)


def image_output(output: Output, index: int) -> Output:
    """The part of a batch's output for one image, as if it were alone."""
    own = output.images == index
    seen = output.proposals
    if seen is not None:
        theirs = seen.images == index
        seen = seen._replace(
            boxes=seen.boxes[theirs],
            scores=seen.scores[theirs],
            images=seen.images[theirs] - index,
            class_scores=seen.class_scores[theirs],
        )
    return Output(
        output.boxes[own],
        output.scores[own],
        output.labels[own],
        output.images[own] - index,
        None if output.masks is None else output.masks[own],
        seen,
    )


def difference(found: Output, wanted: Output) -> str:
    """The worst difference between an output and the wanted one; empty if there is none."""
    seen, wanted_seen = found.proposals, wanted.proposals
    differs = ""
    if seen is not None and wanted_seen is not None:
        ours = _Rows("proposal", _rows(seen.images, seen.boxes, seen.scores))
        theirs = _rows(wanted_seen.images, wanted_seen.boxes, wanted_seen.scores)
        scores = seen.class_scores, wanted_seen.class_scores
        differs = ours.difference(theirs, "class score", *scores, SCORE_TOLERANCE)
    if differs:
        return differs
    ours = _Rows("detection", _rows(found.images, found.boxes, found.scores, found.labels))
    theirs = _rows(wanted.images, wanted.boxes, wanted.scores, wanted.labels)
    return ours.difference(theirs, "mask", found.masks, wanted.masks, MASK_TOLERANCE)


def _rows(
    images: Integers, boxes: Floats, scores: Floats, labels: Integers | None = None
) -> NDArray[np.float64]:
    """Image, label, box and score of each detection or proposal."""
    labels = np.zeros_like(images) if labels is None else labels
    columns = (images[:, None], labels[:, None], boxes, scores[:, None])
    return np.concatenate(columns, axis=1, dtype=np.float64)


class _Rows(NamedTuple):
    """Detections, or proposals."""

    kind: str
    rows: NDArray[np.float64]

    def difference(
        self,
        wanted: NDArray[np.float64],
        name: str,
        values: Floats | None,
        wanted_values: Floats | None,
        tolerance: float,
    ) -> str:
        """How they differ from the wanted ones. `values` are those of each row."""
        ours, theirs = _twins(self.rows, wanted)
        if missing := sorted(set(range(len(wanted))) - set(theirs)):
            return self._list(wanted, missing, "missing")
        if surplus := sorted(set(range(len(self.rows))) - set(ours)):
            return self._list(self.rows, surplus, "too many")
        off = np.abs(self.rows[ours, 6] - wanted[theirs, 6]).max(initial=0)
        if not off <= SCORE_TOLERANCE:
            return f"the score of a {self.kind} is off by {off:.2g}; {SCORE_TOLERANCE} is allowed"
        if values is None or wanted_values is None:
            same = (values is None) == (wanted_values is None)
            return "" if same else f"there are {'no' if values is None else 'unwanted'} {name}s"
        off = np.abs(values[ours] - wanted_values[theirs]).max(initial=0)
        return (
            ""
            if off <= tolerance
            else f"the {name} of a {self.kind} is off by {off:.2g}; {tolerance} is allowed"
        )

    def _list(self, rows: NDArray[np.float64], which: Sequence[int], what: str) -> str:
        image, label, *box, score = rows[which[0]]
        corners = ", ".join(f"{x:.2f}" for x in box)
        return (
            f"{len(which)} of {len(rows)} {self.kind}s are {what}, such as the one in image "
            f"{image:.0f} with label {label:.0f} and score {score:.4f} in ({corners})"
        )


def _twins(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Indices of equal rows, one to one; the nearest are matched first."""
    apart = np.abs(found[:, None, 2:6] - wanted[None, :, 2:6]).max(axis=2, initial=0)
    apart[(found[:, None, :2] != wanted[None, :, :2]).any(axis=2)] = np.inf
    apart[~(apart <= BOX_TOLERANCE)] = np.inf
    # Boxes in the same place are told apart by score.
    apart += np.abs(found[:, None, 6] - wanted[None, :, 6])
    ours, theirs = [], []
    while apart.size and np.isfinite(apart.min()):
        i, j = divmod(int(apart.argmin()), apart.shape[1])
        ours.append(i)
        theirs.append(j)
        apart[i], apart[:, j] = np.inf, np.inf
    return ours, theirs
