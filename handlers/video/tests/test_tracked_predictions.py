"""Tracks through predictions as a client has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pycocotools.mask
import pytest

pytest.importorskip("trackers")

from maskrcnn_video.predictions import detections, tracked

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = 60, 200


@dataclass
class Predicted:
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    category_ids: NDArray[np.int64]
    results: list[dict[str, Any]]


def predicted(*lefts: int, masks: bool = True) -> Predicted:
    """Squares of 20 pixels."""
    results: list[dict[str, Any]] = []
    for left in lefts:
        bitmap = np.zeros(SIZE, np.uint8)
        bitmap[10:30, left : left + 20] = 1
        encoded = pycocotools.mask.encode(np.asfortranarray(bitmap))
        counts = encoded["counts"].decode()
        results.append({"segmentation": {"counts": counts, "size": SIZE}} if masks else {})
    return Predicted(
        SIZE,
        np.array([(left, 10, left + 20, 30) for left in lefts], np.float32).reshape(-1, 4),
        np.full(len(lefts), 0.9, np.float32),
        np.ones(len(lefts), np.int64),
        results,
    )


def test_what_moves_is_one_track() -> None:
    frames = [predicted(10 + 5 * frame, 120) for frame in range(8)]
    pairs = list(tracked(frames, rate=25))
    assert [one for one, _ in pairs] == frames
    seen = pairs[-1][1]
    assert len(seen) == 2
    moving = min(seen, key=lambda track: track.sightings[7].box[0])
    assert [sighting.box[0] for sighting in moving.sightings.values()] == [
        10 + 5 * frame for frame in moving.sightings
    ]
    assert moving.sightings[7].mask.area == 400


def test_a_frame_without_instances_ends_nothing() -> None:
    frames = [predicted(10), predicted(12), predicted(), predicted(14), predicted(16)]
    numbers = [[track.number for track in seen] for _, seen in tracked(frames, rate=25)]
    assert numbers[-1] == numbers[1] == [1]


def test_a_track_is_lost_by_the_times_of_frames() -> None:
    frames = [predicted(10), predicted(12), predicted(), predicted(), predicted(), predicted(14)]
    for period_s, tracks in ((0.05, 1), (0.4, 2)):
        times = [period_s * number for number in range(len(frames))]
        frames_again = [*frames, predicted(16)]
        pairs = list(tracked(frames_again, rate=1 / 0.05, times_s=[*times, times[-1] + 0.05]))
        assert pairs[-1][1][0].number == tracks


def test_predictions_without_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="masks"):
        detections(predicted(10, masks=False))
