"""Tracks of instances through a clip, by ByteTrack of the library `trackers`.

ByteTrack (Zhang et al., 2022) follows boxes, whatever their category. A model may see one object in
several categories: of those whose boxes are nearly the same, the best is followed, and all vote. A
track's category is the one with the highest sum of scores over all its frames so far.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import RLE

START_SCORE = 0.5
"""Default score from which an instance begins a track."""
FLOOR = 0.1
"""Score from which an instance continues one."""
SAME_PLACE = 0.5
"""Intersection over union from which boxes are of one object."""
LOST_S = 1.0
"""Seconds for which a track is continued after it was last seen."""


class Sighting(NamedTuple):
    """A track in one frame."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""
    score: float
    mask: RLE


@dataclass
class Track:
    """An object, as far as it has been followed."""

    number: int
    """Number of the track, from 1."""
    sightings: dict[int, Sighting] = field(default_factory=dict)
    """Where it is, by the number of the frame."""
    votes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Sum of scores of each category."""

    @property
    def category_id(self) -> int:
        """The category with the most votes."""
        return max(self.votes, key=self.votes.__getitem__)

    @property
    def score(self) -> float:
        """Mean score of the sightings."""
        return float(np.mean([one.score for one in self.sightings.values()]))


class Tracker:
    """Follows instances from frame to frame.

    `rate` is the number of frames a second. Raises InvalidSetting without the library.
    """

    def __init__(self, rate: float, start_score: float = START_SCORE) -> None:
        try:
            import supervision
            from trackers import ByteTrackTracker
        except ImportError:
            raise InvalidSetting(
                "tracks need a library: pip install 'maskrcnn-video[track]'"
            ) from None
        self._boxes = supervision.Detections
        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=round(30 * LOST_S),
            frame_rate=rate,
            track_activation_threshold=start_score,
            high_conf_det_threshold=start_score,
            minimum_consecutive_frames=1,
        )
        self.tracks: dict[int, Track] = {}
        """All tracks by number."""

    def see(self, frame: int, detections: Detections) -> list[Track]:
        """Continue the tracks with the instances of the next frame; those that are seen in it.

        `detections` should have what scores `FLOOR` or more. Raises ValueError without masks.
        """
        if detections.masks is None:
            raise ValueError("tracks keep masks, and these detections have none")
        groups = same_places(detections.boxes)
        best = np.array([group[0] for group in groups], np.int64)
        followed = self._tracker.update(
            self._boxes(
                xyxy=detections.boxes[best].reshape(-1, 4),
                confidence=detections.scores[best],
                class_id=detections.category_ids[best],
                data={"group": np.arange(len(groups))},
            )
        )
        runs, seen = detections.masks.rle("columns"), []
        groups_of = followed.data.get("group", ())
        for number, group in zip(followed.tracker_id, groups_of, strict=True):
            if number < 0:
                continue
            track = self.tracks.setdefault(int(number) + 1, Track(int(number) + 1))
            for member in groups[int(group)]:
                track.votes[int(detections.category_ids[member])] += float(
                    detections.scores[member]
                )
            first = groups[int(group)][0]
            left, top, right, bottom = detections.boxes[first].tolist()
            score = float(detections.scores[first])
            track.sightings[frame] = Sighting((left, top, right, bottom), score, runs[first])
            seen.append(track)
        return seen


def same_places(boxes: NDArray[np.float32]) -> Sequence[list[int]]:
    """Numbers of boxes, float32 (N, 4) with the best first, that are of one object; the best of
    each object first."""
    groups: list[list[int]] = []
    for number in range(len(boxes)):
        for group in groups:
            if _iou(boxes[number], boxes[group[0]]) >= SAME_PLACE:
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _iou(one: Iterable[float], other: Iterable[float]) -> float:
    x1, y1, x2, y2 = one
    u1, v1, u2, v2 = other
    both = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
    either = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - both
    return both / either if either > 0 else 0.0
