"""Tracks as files: COCO-video (YouTube-VIS) and the text of MOTS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.rle import edges, from_edges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskrcnn_server.categories import Category
    from maskrcnn_server.rle import RLE, Size
    from maskrcnn_video.tracking import Track

MAX_MOTS = 999
"""Number of tracks of one category, at most, that MOTS can name."""


def youtube_vis(
    name: str,
    size: Size,
    times_s: Sequence[float],
    tracks: Sequence[Track],
    categories: Sequence[Category],
) -> Iterator[str]:
    """Pieces of the JSON of one clip's tracks, whose frames are shown at `times_s`: the format of
    YouTube-VIS' annotations, which extends COCO's. Each annotation is a track, and has a place for
    every frame. Besides the format, it has a `score`, and the video `timestamps` in seconds.

    Source: https://github.com/youtubevos/cocoapi (PythonAPI/pycocotools/ytvos.py).
    """
    height, width = size
    length = len(times_s)
    video = {
        "id": 1,
        "width": width,
        "height": height,
        "length": length,
        "file_names": [f"{name}/{frame:05d}.jpg" for frame in range(length)],
        "timestamps": [round(time_s, 4) for time_s in times_s],
    }
    named = [{"id": one.dataset_id, "name": one.name} for one in categories]
    yield f'{{"videos":[{_json(video)}],"categories":{_json(named)},"annotations":['
    for number, track in enumerate(tracks):
        # All of them together may not fit into memory.
        yield f"{',' if number else ''}{_json(_annotation(track, length, categories))}"
    yield "]}"


def mots(length: int, tracks: Sequence[Track]) -> Iterator[str]:
    """Lines of MOTS: frame, object, class, height, width, run lengths. Masks of a frame do not
    overlap: pixels are of the instance that scores most. An object is 1000 times its class, and a
    number.

    Source: https://www.vision.rwth-aachen.de/page/mots. Raises InvalidSetting for more than 999
    tracks of one category.
    """
    objects: dict[int, int] = {}
    counts: dict[int, int] = {}
    for track in tracks:
        category = track.category_id
        counts[category] = counts.get(category, 0) + 1
        if counts[category] > MAX_MOTS:
            raise InvalidSetting(f"MOTS names {MAX_MOTS} tracks of a category at most")
        objects[track.number] = 1000 * category + counts[category]
    for frame in range(length):
        seen = [track for track in tracks if frame in track.sightings]
        seen.sort(key=lambda track: -track.sightings[frame].score)
        for track, mask in _apart(seen, frame):
            height, width = mask.size
            number = objects[track.number]
            yield f"{frame} {number} {track.category_id} {height} {width} {mask.compressed()}"


def _apart(seen: Sequence[Track], frame: int) -> Iterator[tuple[Track, RLE]]:
    """Each track's mask without the pixels of those before it; empty ones are left out."""
    if not seen:
        return
    size = seen[0].sightings[frame].mask.size
    free = np.ones(size, np.bool_)
    for track in seen:
        y, x, bitmap = track.sightings[frame].mask.window()
        height, width = bitmap.shape
        left = bitmap & free[y : y + height, x : x + width]
        free[y : y + height, x : x + width] &= ~bitmap
        if left.any():
            lines = edges(left.T, (x, y), size[0])
            yield track, from_edges([lines], size, "columns")


def _annotation(track: Track, length: int, categories: Sequence[Category]) -> dict[str, Any]:
    frames = range(length)
    return {
        "id": track.number,
        "video_id": 1,
        "category_id": _dataset_id(track, categories),
        "score": round(track.score, 4),
        "iscrowd": 0,
        "segmentations": [_segmentation(track, frame) for frame in frames],
        "bboxes": [_box(track, frame) for frame in frames],
        "areas": [
            track.sightings[frame].mask.area if frame in track.sightings else None
            for frame in frames
        ],
    }


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _segmentation(track: Track, frame: int) -> dict[str, Any] | None:
    if frame not in track.sightings:
        return None
    mask = track.sightings[frame].mask
    return {"size": list(mask.size), "counts": mask.compressed()}


def _box(track: Track, frame: int) -> list[float] | None:
    if frame not in track.sightings:
        return None
    left, top, right, bottom = track.sightings[frame].box
    return [round(value, 2) for value in (left, top, right - left, bottom - top)]


def _dataset_id(track: Track, categories: Sequence[Category]) -> int:
    known = {one.id: one.dataset_id for one in categories}
    return known[track.category_id]
