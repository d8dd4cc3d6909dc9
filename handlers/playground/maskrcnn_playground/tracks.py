"""Tracks through what the page was told of a clip's frames, by the distribution maskrcnn-video."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from maskrcnn_server.detections import Detections
from maskrcnn_server.errors import InvalidSetting, RequestError
from maskrcnn_server.masks import RunLengthMasks
from maskrcnn_server.rle import RLE, from_compressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskrcnn_server.backend import ModelMetadata
    from maskrcnn_server.rle import Size
    from maskrcnn_video.tracking import Track

MAX_FRAMES = 300
"""Number of frames of a clip at most."""
MAX_INSTANCES = 300
"""Number of instances of a frame at most."""
MAX_ALL_INSTANCES = 30_000
"""Number of instances of all frames at most."""
MAX_SIDE = 1280
"""Longest side of a frame in pixels."""
MAX_RUNS = 1 << 16
"""Number of characters of a mask at most."""
INSTALL = "pip install 'maskrcnn-playground[clips]'"
"""Command that installs what tracks need."""
FORMATS = {"coco-video": "application/json", "mots": "text/plain; charset=utf-8"}
"""Formats of tracks, and their media types."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Seen(BaseModel):
    """One instance in a frame."""

    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    """Left, top, right, bottom in pixels."""
    score: Annotated[float, Field(ge=0, le=1)]
    category_id: Annotated[int, Field(ge=1, le=1 << 31)]
    runs: Annotated[str, Field(max_length=MAX_RUNS)] = ""
    """Row-wise run lengths of the mask, written as COCO's text. Empty: no mask."""


class Frames(BaseModel):
    """What was found in the frames of a clip, the best first in each."""

    name: Annotated[str, Field(max_length=1024)] = "clip"
    size: tuple[Side, Side]
    """Height and width of the frames."""
    times_s: Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_FRAMES)]
    """Time of each frame in seconds, which grows."""
    is_timed: bool = True
    """Whether things move by these times. If not, each frame is a step."""
    rate: Annotated[float, Field(ge=0.0001, le=1000)]
    """Frames a second."""
    score_threshold: Annotated[float, Field(ge=0, le=1)]
    """Score from which an instance begins a track."""
    frames: list[Annotated[list[Seen], Field(max_length=MAX_INSTANCES)]]
    category_ids: Annotated[list[int], Field(max_length=100_000)] | None = None
    """Categories of the tracks that are written. None: all."""


def are_installed() -> bool:
    """Whether tracks can be made here."""
    return all(
        find_spec(name) is not None for name in ("maskrcnn_video", "supervision", "trackers")
    )


def parse(body: bytes) -> Frames:
    """The frames in JSON. Raises RequestError, which says what is wrong and where."""
    try:
        found = Frames.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(f"{where}: {first['msg']}", field=where) from None
    if len(found.frames) != len(found.times_s):
        raise RequestError(f"{len(found.times_s)} times of {len(found.frames)} frames")
    if sum(map(len, found.frames)) > MAX_ALL_INSTANCES:
        raise RequestError(f"frames: more than {MAX_ALL_INSTANCES} instances", field="frames")
    if any(later <= earlier for earlier, later in pairwise(found.times_s)):
        raise RequestError("times_s: each is later than the one before", field="times_s")
    return found


def followed(found: Frames) -> bytes:
    """`{"tracks": [{"number", "category_id", "score", "places"}]}`: a place is a frame, and an
    instance in it. Raises RequestError."""
    frames = [_detections(frame, found.size) for frame in found.frames]
    # Of instances with one box, the first is the one that is followed.
    numbers = [
        {tuple(box): index for index, box in reversed(list(enumerate(one.boxes.tolist())))}
        for one in frames
    ]
    tracks = [
        {
            "number": track.number,
            "category_id": track.category_id,
            "score": track.score,
            "places": [
                [frame, numbers[frame][one.box]] for frame, one in sorted(track.sightings.items())
            ],
        }
        for track in _tracks(found, frames)
    ]
    return json.dumps({"tracks": tracks}, separators=(",", ":")).encode()


def written(found: Frames, model: ModelMetadata, form: str) -> bytes:
    """The tracks in a format. Raises RequestError, also for a category that the model lacks."""
    tracks = _tracks(found, [_detections(frame, found.size) for frame in found.frames])
    if found.category_ids is not None:
        tracks = [track for track in tracks if track.category_id in set(found.category_ids)]
    if not {track.category_id for track in tracks} <= {one.id for one in model.categories}:
        raise RequestError("frames: a category is not one of the model's", field="frames")
    from maskrcnn_video.formats import mots, youtube_vis

    if form == "coco-video":
        pieces = youtube_vis(found.name, found.size, found.times_s, tracks, model.categories)
        return "".join(pieces).encode()
    try:
        return "".join(f"{line}\n" for line in mots(len(found.times_s), tracks)).encode()
    except InvalidSetting as error:
        raise RequestError(error.message) from None


def _tracks(found: Frames, frames: Sequence[Detections]) -> list[Track]:
    if not are_installed():
        raise RequestError(f"this server follows no instances: {INSTALL}")
    from maskrcnn_video.tracking import Tracker

    tracker = Tracker(found.rate, found.score_threshold)
    for number, (detections, time_s) in enumerate(zip(frames, found.times_s, strict=True)):
        tracker.see(number, detections, time_s if found.is_timed else None)
    return sorted(tracker.tracks.values(), key=lambda track: track.number)


def _detections(frame: Sequence[Seen], size: Size) -> Detections:
    height, width = size
    boxes = np.array([one.box for one in frame], np.float64).reshape(-1, 4)
    boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
    try:
        return Detections(
            size=size,
            boxes=boxes.clip(0, (width, height, width, height)).astype(np.float32),
            scores=np.array([one.score for one in frame], np.float32),
            category_ids=np.array([one.category_id for one in frame], np.int64),
            masks=RunLengthMasks([_runs(one.runs, size) for one in frame], size),
        )
    except ValueError as error:
        raise RequestError(f"frames: {error}", field="frames") from None


def _runs(text: str, size: Size) -> RLE:
    counts = from_compressed(text, size).counts if text else np.array([size[0] * size[1]])
    return RLE(counts, size, "rows")
