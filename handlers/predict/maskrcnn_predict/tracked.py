"""`predict --track`: a clip's instances as tracks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_predict.run import each
from maskrcnn_predict.sources import keep_inputs
from maskrcnn_server.errors import InvalidSetting, MaskRCNNError
from maskrcnn_server.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console

    from maskrcnn_predict.predictors import ImageResult, Predictor
    from maskrcnn_server.categories import Category
    from maskrcnn_video.frames import Clip, Frame
    from maskrcnn_video.tracking import Tracker


@dataclass(frozen=True)
class Tracking:
    """What to do with a clip."""

    path: Path
    out: Path | None
    """File for the clip with its tracks drawn over it."""
    json: Path | None
    """File for the tracks in YouTube-VIS' format."""
    mots: Path | None
    """File for the tracks as MOTS' text."""
    fps: float | None
    """Frames a second that are looked at. None: all."""
    score_threshold: float | None
    """Score from which an instance begins a track. None: 0.5."""


def tracking(
    places: Iterable[str],
    files: tuple[Path | None, str | None, Path | None],
    fps: float | None,
    score_threshold: float | None,
) -> Tracking:
    """What flags ask for. Raises InvalidSetting for what cannot be."""
    try:
        import maskrcnn_video  # noqa: F401
    except ImportError:
        raise InvalidSetting(
            "--track: maskrcnn-video is not installed: pip install 'maskrcnn-video[track]'"
        ) from None
    clips = list(places)
    if len(clips) != 1:
        raise InvalidSetting(f"--track: one clip at a time, not {len(clips)}")
    out, json_file, mots = files
    if json_file is not None and json_file.startswith("s3://"):
        raise InvalidSetting("--track: --json is a file of this machine")
    path = None if json_file is None else Path(json_file)
    keep_inputs({"out": out, "json": path, "mots": mots}, clips)
    return Tracking(Path(clips[0]), out, path, mots, fps, score_threshold)


def track(
    console: Console,
    wanted: Tracking,
    opening: Callable[[], AbstractContextManager[Predictor]],
    concurrency: int,
    max_pixels: int,
) -> None:
    """Follow the instances of a clip; `concurrency` frames are predicted at a time, in order.

    Raises MaskRCNNError.
    """
    from maskrcnn_video import clip, tracking

    with clip.opened(wanted.path, max_pixels, wanted.fps) as opened:
        start = tracking.START_SCORE if wanted.score_threshold is None else wanted.score_threshold
        tracker = tracking.Tracker(float(opened.rate), start)
        times_s, categories = _followed(console, wanted, opened, tracker, opening, concurrency)
        size = opened.size
    _write(wanted, size, times_s, tracker, categories)
    console.print(f"{len(times_s)} frames, {len(tracker.tracks)} tracks")


def _followed(
    console: Console,
    wanted: Tracking,
    opened: Clip,
    tracker: Tracker,
    opening: Callable[[], AbstractContextManager[Predictor]],
    concurrency: int,
) -> tuple[list[float], list[Category]]:
    """The time of each frame, and the categories that were seen."""
    from maskrcnn_video.clip import ClipWriter
    from maskrcnn_video.drawing import drawn
    from maskrcnn_video.tracking import FLOOR

    options = Options(score_threshold=FLOOR, masks=True)

    def predicted(predictor: Predictor, frame: Frame) -> ImageResult:
        file = BytesIO()
        np.save(file, frame.pixels)
        return predictor.predict(file.getvalue(), options)

    times_s, categories = list[float](), dict[int, "Category"]()
    with ExitStack() as stack:
        writer: ClipWriter | None = None
        pairs = each(
            console, "tracking", opening, predicted, opened.frames(), concurrency, opened.length
        )
        for frame, result in pairs:
            if isinstance(result, MaskRCNNError):
                raise result
            categories |= {one.id: one for one in result.categories}
            time_s = frame.time_s if opened.is_timed else None
            seen = tracker.see(frame.number, result.detections, time_s)
            times_s.append(frame.time_s)
            if wanted.out is None:
                continue
            if writer is None:
                size = frame.pixels.shape[0], frame.pixels.shape[1]
                writer = stack.enter_context(ClipWriter(wanted.out, size, opened.rate))
            names = {one.id: one.name for one in categories.values()}
            pixels = drawn(frame.pixels, frame.number, seen, names)
            writer.write(pixels, frame.time_s, frame.duration_s)
    return times_s, [categories[number] for number in sorted(categories)]


def _write(
    wanted: Tracking,
    size: tuple[int, int],
    times_s: Sequence[float],
    tracker: Tracker,
    categories: list[Category],
) -> None:
    from maskrcnn_video.formats import mots, youtube_vis

    tracks = sorted(tracker.tracks.values(), key=lambda one: one.number)
    if wanted.json is not None:
        pieces = youtube_vis(wanted.path.stem, size, times_s, tracks, categories)
        with wanted.json.open("w") as file:
            file.writelines(pieces)
    if wanted.mots is not None:
        with wanted.mots.open("w") as file:
            file.writelines(f"{line}\n" for line in mots(len(times_s), tracks))
