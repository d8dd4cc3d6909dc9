"""Clips as frames, and frames as clips, by PyAV (FFmpeg); animated images by Pillow."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
import PIL.Image
from av.sidedata.sidedata import Type

from maskrcnn_handlers.request.arrays import check
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_video import animations
from maskrcnn_video.animations import animated, may_be_animated
from maskrcnn_video.frames import Chosen, Clip, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import Size

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg"
"""FFmpeg's readers that are used. Its others may open further files or addresses."""
DEFAULT_RATE = Fraction(25)
"""Frames a second of a clip that does not say."""
START_BYTES = 64
"""Number of bytes that tell an animated image from a container."""
TICKS = 90_000
"""Number of parts of a second in which a written clip says when a frame is shown."""
MAX_SHOWN_S = 3600.0
"""Time in seconds for which a written clip shows a frame at most."""


class VideoFile:
    """A clip in a container that FFmpeg reads. Made by `opened`."""

    is_timed = True

    def __init__(self, container: Any, max_pixels: int, fps: float | None) -> None:
        self._container = container
        self._stream = container.streams.video[0]
        # Frames may be larger than the clip says. A codec counts its padding, too.
        self._stream.codec_context.options = {"max_pixels": str(2 * max_pixels)}
        self._max_pixels = max_pixels
        own = self._stream.average_rate or DEFAULT_RATE
        self._period_s = float(1 / own)
        self._chosen = Chosen(own, fps)
        self.rate = self._chosen.rate
        frames = self._stream.frames
        self.length: int | None = round(frames * self.rate / own) if frames else None
        self.size: Size = (self._stream.height, self._stream.width)

    def frames(self) -> Iterator[Frame]:
        """The frames that are used, all as large as the first.

        Raises InvalidImage for what cannot be decoded, and frames that are too large.
        """
        height, width = self.size
        check(width, height, self._max_pixels)
        number = 0
        try:
            for frame, time_s, end_s in self._shown():
                if not self._chosen.has(time_s, end_s):
                    continue
                check(frame.width, frame.height, self._max_pixels)
                pixels = _upright(frame)
                if number == 0:
                    self.size = pixels.shape[0], pixels.shape[1]
                if pixels.shape[:2] != self.size:
                    pixels = np.asarray(PIL.Image.fromarray(pixels).resize(self.size[::-1]))
                yield Frame(number, time_s, pixels, end_s - time_s)
                number += 1
        except av.error.FFmpegError as error:
            raise InvalidImage(f"frame {number}: {error.strerror}") from error
        if number == 0:
            raise InvalidImage("it has no frames")

    def _shown(self) -> Iterator[tuple[Any, float, float]]:
        """Each frame, and from when to when it is shown in seconds."""
        last, last_s = None, -self._period_s
        for frame in self._container.decode(self._stream):
            is_later = frame.time is not None and frame.time > last_s
            time_s = float(frame.time) if is_later else last_s + self._period_s
            if last is not None:
                yield last, last_s, time_s
            last, last_s = frame, time_s
        if last is not None:
            lasts_s = float(last.duration * last.time_base) if last.duration else 0.0
            yield last, last_s, last_s + (lasts_s or self._period_s)


@contextmanager
def opened(path: Path, max_pixels: int, fps: float | None = None) -> Iterator[Clip]:
    """A clip, of whose frames `fps` a second are used; None: all.

    Raises InvalidImage, and InvalidSetting for the frame rate.
    """
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
            data = start + file.read(animations.MAX_BYTES) if may_be_animated(start) else b""
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}") from error
    reading = animated(data, max_pixels, fps) if data else _video_file(path, max_pixels, fps)
    with reading as clip:
        yield clip


@contextmanager
def _video_file(path: Path, max_pixels: int, fps: float | None) -> Iterator[Clip]:
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(str(path), options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, OSError) as error:
        raise InvalidImage(f"{path}: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise InvalidImage(f"{path}: it has no frames")
        if container.streams.video[0].codec_context is None:
            raise InvalidImage(f"{path}: its codec is not known")
        yield VideoFile(container, max_pixels, fps)


class ClipWriter:
    """Writes frames of one size as a clip (H.264 in MP4). Close it, or use it as a context.

    `rate` is the number of frames a second of frames without a time of their own.
    """

    def __init__(self, path: Path, size: Size, rate: Fraction) -> None:
        try:
            self._container = av.open(str(path), "w", format="mp4")
        except (av.error.FFmpegError, OSError) as error:
            raise InvalidSetting(f"{path}: {error.strerror}") from error
        self._path = path
        # Each packet then has the time of its frame, and the last one's duration counts.
        in_order = {"bf": "0"}
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=in_order)
        # The codec has half as many colours as pixels along each side.
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._period_s = float(1 / rate)
        self._last_s: float | None = None
        self._last = self._next = 0
        self._durations: dict[int, int] = {}

    def write(
        self, pixels: Image, time_s: float | None = None, duration_s: float | None = None
    ) -> None:
        """Add a frame: uint8 (height, width, 3), RGB.

        Times, if there are any, are those of the clip that it comes from, and grow.
        """
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        if time_s is not None and self._last_s is not None:
            passed_s = min(max(0.0, time_s - self._last_s), MAX_SHOWN_S)
            self._next = max(self._next, self._last + round(passed_s * TICKS))
        self._last_s, self._last = time_s, self._next
        lasts_s = min(duration_s or self._period_s, MAX_SHOWN_S)
        lasts = max(1, round(lasts_s * TICKS))
        frame.pts, frame.time_base = self._next, Fraction(1, TICKS)
        self._durations[self._next] = lasts
        self._next += lasts if time_s is None else 1
        self._mux(frame)

    def close(self) -> None:
        """Write what is left."""
        try:
            self._mux(None)
        finally:
            self._container.close()

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                packet.duration = self._durations.pop(packet.pts)
                self._container.mux(packet)
        except av.error.FFmpegError as error:
            raise InvalidSetting(f"{self._path}: {error.strerror}") from error

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _upright(frame: Any) -> Image:
    """The pixels, turned or mirrored as the clip says. Other matrices than these change nothing.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y.
    """
    pixels: Image = frame.to_ndarray(format="rgb24")
    for one in frame.side_data:
        if one.type == Type.DISPLAYMATRIX:
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(one))
            if abs(b) > abs(a):
                pixels, a, d = pixels.transpose(1, 0, 2), c, b
            return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
    return pixels
