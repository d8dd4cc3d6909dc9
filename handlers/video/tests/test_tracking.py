"""Tracks of boxes that move, and the files that they are written to."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pycocotools.mask
import pytest

from maskrcnn_server.categories import Category
from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks

pytest.importorskip("trackers")

from maskrcnn_video.drawing import drawn
from maskrcnn_video.formats import mots, youtube_vis
from maskrcnn_video.tracking import Tracker, same_places

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = 100, 200
Seen = list[tuple[int, float, int, int]]
"""Category, score, and left and top of squares of 30 pixels, the best first."""


def detections(seen: Seen) -> Detections:
    masks = np.zeros((len(seen), *SIZE), np.bool_)
    for mask, (_, _, x, y) in zip(masks, seen, strict=True):
        mask[y : y + 30, x : x + 30] = True
    return Detections(
        size=SIZE,
        boxes=np.array([(x, y, x + 30, y + 30) for _, _, x, y in seen], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _, _ in seen], np.float32),
        category_ids=np.array([category for category, *_ in seen], np.int64),
        masks=BitMasks(masks),
    )


@pytest.fixture
def tracker() -> Tracker:
    """After ten frames of two squares that move towards each other, one above the other; the
    first is sometimes taken for category 2, and not seen in frame 5."""
    tracker = Tracker(25)
    for frame in range(10):
        first: Seen = [(2 if frame % 4 == 1 else 1, 0.9, 10 + 8 * frame, 10)]
        second: Seen = [(3, 0.8, 150 - 8 * frame, 60), (1, 0.3, 151 - 8 * frame, 60)]
        tracker.see(frame, detections([*(first if frame != 5 else []), *second]))
    return tracker


def test_objects_keep_their_tracks(tracker: Tracker) -> None:
    one, other = sorted(tracker.tracks.values(), key=lambda track: track.category_id)
    assert (one.category_id, other.category_id) == (1, 3)
    assert 5 not in one.sightings
    assert len(other.sightings) >= 9
    for frame, sighting in one.sightings.items():
        assert sighting.box[0] == 10 + 8 * frame
        assert sighting.mask.area == 900
    assert other.score == pytest.approx(0.8)


def test_nothing_is_followed_where_nothing_is_seen() -> None:
    tracker = Tracker(25)
    assert [tracker.see(frame, detections([])) for frame in range(3)] == [[], [], []]
    assert tracker.see(3, detections([(1, 0.3, 10, 10)])) == []


@pytest.mark.parametrize("pause_s", [0.5, 5.0])
def test_a_frame_that_is_shown_for_long_ends_no_track(pause_s: float) -> None:
    tracker = Tracker(10)
    for frame in range(6):
        time_s = frame / 10 + (pause_s if frame >= 3 else 0)
        seen = tracker.see(frame, detections([(1, 0.9, 10 + 3 * frame, 10)]), time_s)
    assert [track.number for track in seen] == [1]
    assert sorted(seen[0].sightings) == list(range(6))


def test_a_track_that_is_lost_for_more_than_a_second_ends() -> None:
    tracker = Tracker(10)
    for frame in range(20):
        there: Seen = [(1, 0.9, 10, 10)] if not 4 <= frame < 16 else []
        tracker.see(frame, detections(there), frame / 10)
    assert sorted(map(sorted, (one.sightings for one in tracker.tracks.values()))) == [
        [0, 1, 2, 3],
        [16, 17, 18, 19],
    ]


def test_at_less_than_a_frame_a_second_tracks_go_on() -> None:
    tracker = Tracker(0.25)
    for frame in range(4):
        tracker.see(frame, detections([(1, 0.9, 10 + frame, 10)]), 4.0 * frame)
    assert [len(track.sightings) for track in tracker.tracks.values()] == [4]


def test_a_track_has_its_first_frame() -> None:
    """It begins with its second: what is seen once, in frame 2, is none."""
    tracker = Tracker(25)
    for frame in range(4):
        seen: Seen = [(1, 0.9, 10 + 3 * frame, 10)]
        if frame == 2:
            seen.append((1, 0.8, 120, 60))
        tracker.see(frame, detections(seen))
    (track,) = tracker.tracks.values()
    assert {frame: one.box[0] for frame, one in sorted(track.sightings.items())} == {
        frame: 10 + 3 * frame for frame in range(4)
    }
    assert track.votes == {1: pytest.approx(3.6)}


def test_boxes_of_one_object_are_one_group() -> None:
    boxes = np.array([(0, 0, 10, 10), (50, 0, 60, 10), (1, 0, 11, 10), (50, 0, 50, 0)], np.float32)
    assert same_places(boxes) == [[0, 2], [1], [3]]


def test_detections_without_masks_are_refused() -> None:
    found = detections([(1, 0.9, 10, 10)])
    bare = Detections(found.size, found.boxes, found.scores, found.category_ids)
    with pytest.raises(ValueError, match="masks"):
        Tracker(25).see(0, bare)


def test_youtube_vis_has_a_place_for_every_frame(tracker: Tracker) -> None:
    categories = [Category(1, "square", 17), Category(3, "star", 3)]
    tracks = list(tracker.tracks.values())
    pieces = youtube_vis("clip", SIZE, [k / 4 for k in range(10)], tracks, categories)
    content = json.loads("".join(pieces))
    assert content["videos"][0]["length"] == 10
    assert content["videos"][0]["timestamps"] == [k / 4 for k in range(10)]
    assert {one["category_id"] for one in content["annotations"]} == {17, 3}
    for annotation in content["annotations"]:
        assert len(annotation["segmentations"]) == len(annotation["bboxes"]) == 10
        for frame, segmentation in enumerate(annotation["segmentations"]):
            if segmentation is None:
                assert annotation["areas"][frame] is annotation["bboxes"][frame] is None
                continue
            x, y, width, height = annotation["bboxes"][frame]
            mask = pycocotools.mask.decode(segmentation)
            assert mask[int(y) : int(y + height), int(x) : int(x + width)].sum() == mask.sum()
            assert mask.sum() == annotation["areas"][frame] == 900


def test_no_tracks_are_written_too() -> None:
    content = json.loads("".join(youtube_vis('a"b', SIZE, [0.0], [], [])))
    assert (content["annotations"], content["categories"]) == ([], [])
    assert content["videos"][0]["file_names"] == ['a"b/00000.jpg']


def test_many_tracks_of_a_long_clip_are_written_one_by_one(tracker: Tracker) -> None:
    """All of these together have 60 million places."""
    (first, *_) = tracker.tracks.values()
    pieces = youtube_vis(
        "a",
        SIZE,
        [0.04 * n for n in range(20_000)],
        [first] * 1000,
        [Category(first.category_id, "square", 1)],
    )
    assert len(next(pieces)) > 20_000
    tracemalloc.start()
    lengths = [len(piece) for piece, _ in zip(pieces, range(3), strict=False)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert min(lengths) > 3 * 20_000 * len("null,") - 2_000
    assert peak < 2**23


def test_masks_of_mots_do_not_overlap() -> None:
    tracker = Tracker(25)
    for frame in range(3):
        tracker.see(frame, detections([(1, 0.9, 10, 10), (1, 0.8, 28, 20)]))
    lines = [line.split() for line in mots(3, list(tracker.tracks.values()))]
    assert {line[1] for line in lines} == {"1001", "1002"}
    for number in {line[0] for line in lines}:
        masks = [
            pycocotools.mask.decode({"size": list(SIZE), "counts": line[5].encode()})
            for line in lines
            if line[0] == number
        ]
        assert np.sum(masks, 0).max() == 1
        assert sorted(mask.sum() for mask in masks) == [900 - 12 * 20, 900]


def test_a_track_keeps_its_colour(tracker: Tracker) -> None:
    track = next(one for one in tracker.tracks.values() if one.category_id == 1)
    black = np.zeros((*SIZE, 3), np.uint8)
    colours = set()
    for frame, sighting in track.sightings.items():
        pixels = drawn(black, frame, [track], {1: "square"})
        left, top, *_ = map(int, sighting.box)
        colours.add(tuple(pixels[top + 27, left + 27].tolist()))
    assert len(colours) == 1
    assert colours != {(0, 0, 0)}
    assert not black.any()
