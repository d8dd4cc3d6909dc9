"""Tracks through what a client was told of frames (`maskrcnn_client.Prediction`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import from_compressed
from maskrcnn_video.tracking import START_SCORE, Tracker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maskrcnn_server.rle import Size
    from maskrcnn_video.tracking import Track


class Predicted(Protocol):
    """The instances in a frame, as `maskrcnn_client.Prediction` has them."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4): x1, y1, x2, y2 in pixels."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,), 0 to 1, descending."""

    @property
    def category_ids(self) -> NDArray[np.int64]: ...

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """COCO's results, with masks in `segmentation`."""


P = TypeVar("P", bound=Predicted)


def tracked(
    predictions: Iterable[P],
    rate: float,
    start_score: float = START_SCORE,
    times_s: Iterable[float] | None = None,
) -> Iterator[tuple[P, Sequence[Track]]]:
    """Each prediction, and the tracks that are seen in its frame, of a clip in order.

    `rate` is the number of frames a second; `times_s` are the times of the frames, if they last
    different times. Predictions should have what scores 0.1 or more. A
    track's sightings are by the number of the frame, from 0. Raises ValueError for predictions
    without masks, and InvalidSetting without the library.
    """
    tracker = Tracker(rate, start_score)
    times = repeat(None) if times_s is None else times_s
    for number, (one, time_s) in enumerate(zip(predictions, times, strict=False)):
        yield one, tracker.see(number, detections(one), time_s)


def detections(predicted: Predicted) -> Detections:
    """The detections of the frame. Raises ValueError without masks."""
    if not all("segmentation" in result for result in predicted.results):
        raise ValueError("tracks keep masks, and this prediction has none")
    runs = [
        from_compressed(result["segmentation"]["counts"], predicted.size)
        for result in predicted.results
    ]
    return Detections(
        size=predicted.size,
        boxes=predicted.boxes,
        scores=predicted.scores,
        category_ids=predicted.category_ids,
        masks=RunLengthMasks(runs, predicted.size),
    )
