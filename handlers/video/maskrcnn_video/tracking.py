"""Tracks of instances through a clip, by ByteTrack of the library `trackers`.

ByteTrack (Zhang et al., 2022) follows boxes, whatever their category. A model may see one object in
several categories: of those whose boxes are nearly the same, the best is followed, and all vote. A
track's category is the one with the highest sum of scores over all its frames so far.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskrcnn_server.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

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
LOST_PERIODS = 1.5
"""The same in periods of the frame rate, if that is more."""
STEP_S = 0.5
"""Longest time in seconds that passes for a track from frame to frame, or the rate's period."""
MIN_IOU = 0.1
"""Intersection over union of a track's first two boxes at least, as the library matches them."""


class Sighting(NamedTuple):
    """A track in one frame."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""
    score: float
    mask: RLE
    votes: tuple[tuple[int, float], ...] = ()
    """Category and score of each instance at this place."""


@dataclass
class Track:
    """An object, as far as it has been followed."""

    number: int
    """Number of the track, from 1."""
    sightings: dict[int, Sighting] = field(default_factory=dict)
    """Where it is, by the number of the frame."""
    votes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Sum of scores of each category."""

    def add(self, frame: int, sighting: Sighting) -> None:
        """Note that it is seen in a frame."""
        self.sightings[frame] = sighting
        for category_id, score in sighting.votes:
            self.votes[category_id] += score

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

    `rate` is the number of frames a second; their mean, if they last different times. Raises
    InvalidSetting without the library.
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
        self._start_score = start_score
        self._step_s = max(STEP_S, 1 / rate)
        self._last_s: float | None = None
        self._passed_s = 0.0
        self._waiting: list[Sighting] = []
        """What might be the first sightings of tracks, in the last frame."""
        self._tracker: Any = ByteTrackTracker(
            # The library counts in frames of a thirtieth of a second.
            lost_track_buffer=ceil(30 * max(LOST_S, LOST_PERIODS / rate)),
            frame_rate=rate,
            track_activation_threshold=start_score,
            high_conf_det_threshold=start_score,
            minimum_consecutive_frames=1,
        )
        self.tracks: dict[int, Track] = {}
        """All tracks by number."""

    def see(self, frame: int, detections: Detections, time_s: float | None = None) -> list[Track]:
        """Continue the tracks with the instances of the next frame; those that are seen in it.

        `detections` should have what scores `FLOOR` or more. `time_s` is the time of the frame,
        which grows; None: every frame lasts as long. A track begins with its second sighting, and
        has the first one as well then, in the frame before. Raises ValueError without masks.
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
            ),
            timestamp=self._timestamp(time_s),
        )
        runs, seen = detections.masks.rle("columns"), []
        before, self._waiting = self._waiting, []
        groups_of = followed.data.get("group", ())
        for number, group in zip(followed.tracker_id, groups_of, strict=True):
            members = groups[int(group)]
            left, top, right, bottom = detections.boxes[members[0]].tolist()
            votes = [
                (int(detections.category_ids[i]), float(detections.scores[i])) for i in members
            ]
            sighting = Sighting(
                (left, top, right, bottom), votes[0][1], runs[members[0]], tuple(votes)
            )
            if number < 0:
                if sighting.score >= self._start_score:
                    self._waiting.append(sighting)
                continue
            track = self.tracks.get(int(number) + 1)
            if track is None:
                track = self.tracks[int(number) + 1] = Track(int(number) + 1)
                first = _nearest(sighting, before)
                if first is not None:
                    before.remove(first)
                    track.add(frame - 1, first)
            track.add(frame, sighting)
            seen.append(track)
        return seen

    def _timestamp(self, time_s: float | None) -> float | None:
        """The time as tracks see it: what a clip shows for long has not moved as long."""
        if time_s is None:
            return None
        if self._last_s is not None:
            self._passed_s += min(time_s - self._last_s, self._step_s)
        self._last_s = time_s
        return self._passed_s


def same_places(boxes: NDArray[np.float32]) -> Sequence[list[int]]:
    """Numbers of boxes, float32 (N, 4) with the best first, that are of one object; the best of
    each object first."""
    groups: list[list[int]] = []
    same = ious(boxes, boxes) >= SAME_PLACE
    for number in range(len(boxes)):
        own = next((group for group in groups if same[number, group[0]]), None)
        if own is None:
            groups.append([number])
        else:
            own.append(number)
    return groups


def ious(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of each box, (N, 4), with each of the others, (M, 4): (N, M). Boxes
    without area have 0."""
    one, other = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    both = sides.clip(0).prod(2)
    areas = [(each[..., 2:] - each[..., :2]).prod(2) for each in (one, other)]
    either = areas[0] + areas[1] - both
    shares: NDArray[np.float64] = np.zeros_like(both)
    np.divide(both, either, out=shares, where=either > 0)
    return shares


def _nearest(second: Sighting, before: Sequence[Sighting]) -> Sighting | None:
    """What was seen at the place of a sighting in the frame before."""
    if not before:
        return None
    boxes = np.array([one.box for one in before], np.float32)
    shares = ious(np.array([second.box], np.float32), boxes)[0]
    best = int(shares.argmax())
    return before[best] if shares[best] >= MIN_IOU else None
