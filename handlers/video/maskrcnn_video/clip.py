"""Clips as frames, and frames as clips, by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import av.error
import numpy as np

from maskrcnn_server.errors import InvalidImage, InvalidSetting

if TYPE_CHECKING:
    from pathlib import Path

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import Size

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg"
"""FFmpeg's readers that are used. Its others may open further files or addresses."""
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg")
"""Ends of the names of clips."""
DEFAULT_RATE = Fraction(25)
"""Frames a second of a clip that does not say."""


class Frame(NamedTuple):
    """A frame of a clip."""

    number: int
    """Number of the frame among those that are used, from 0."""
    time_s: float
    pixels: Image
    """uint8 (height, width, 3), RGB, upright."""


class Clip:
    """A clip that is read from its beginning. Made by `opened`."""

    def __init__(self, container: Any, max_pixels: int, fps: float | None) -> None:
        self._container = container
        self._stream = container.streams.video[0]
        # Frames may be larger than the clip says. A codec counts its padding, too.
        self._stream.codec_context.options = {"max_pixels": str(2 * max_pixels)}
        self._max_pixels = max_pixels
        self._fps = fps
        own = self._stream.average_rate or DEFAULT_RATE
        wanted = own if fps is None else Fraction(fps).limit_denominator(1001)
        self.rate = min(own, wanted)
        """Frames a second of those that are used."""
        self._half_period_s = float(1 / own) / 2
        frames = self._stream.frames
        self.length = round(frames * self.rate / own) if frames else None
        """Number of frames that are used, about. None: the clip does not say."""
        self.size: Size = (self._stream.height, self._stream.width)
        """Height and width in pixels, of upright frames once one is read."""

    def frames(self) -> Iterator[Frame]:
        """The frames, or those next to each multiple of the asked frame rate's period.

        Raises InvalidImage for what cannot be decoded, and frames that are too large.
        """
        number, first = 0, None
        self._check(*self.size)
        try:
            for frame in self._container.decode(self._stream):
                time_s = float(frame.time or 0.0)
                first = time_s if first is None else first
                due = first + number / float(self.rate)
                if self._fps is not None and time_s < due - self._half_period_s:
                    continue
                self._check(frame.height, frame.width)
                pixels = _upright(frame)
                if number == 0:
                    self.size = pixels.shape[0], pixels.shape[1]
                if pixels.shape[:2] != self.size:
                    raise InvalidImage(f"frame {number}: its size is not that of the first")
                yield Frame(number, time_s, pixels)
                number += 1
        except av.error.FFmpegError as error:
            raise InvalidImage(f"frame {number}: {error.strerror}") from error

    def _check(self, height: int, width: int) -> None:
        if height * width > self._max_pixels:
            raise InvalidImage(
                f"frames of {width} x {height} pixels are more than {self._max_pixels}, the "
                "largest image"
            )


@contextmanager
def opened(path: Path, max_pixels: int, fps: float | None = None) -> Iterator[Clip]:
    """A clip, of whose frames `fps` a second are used; None: all. Raises InvalidImage."""
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(str(path), options=options)
    except (av.error.FFmpegError, OSError) as error:
        raise InvalidImage(f"{path}: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise InvalidImage(f"{path}: it has no frames")
        yield Clip(container, max_pixels, fps)


class ClipWriter:
    """Writes frames of one size as a clip (H.264 in MP4). Close it, or use it as a context."""

    def __init__(self, path: Path, size: Size, rate: Fraction) -> None:
        try:
            self._container = av.open(str(path), "w", format="mp4")
        except (av.error.FFmpegError, OSError) as error:
            raise InvalidSetting(f"{path}: {error.strerror}") from error
        self._stream: Any = self._container.add_stream("libx264", rate=rate)
        # The codec has half as many colours as pixels along each side.
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"

    def write(self, pixels: Image) -> None:
        """Add a frame: uint8 (height, width, 3), RGB."""
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _upright(frame: Any) -> Image:
    """The pixels, turned as the clip says."""
    pixels: Image = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns))
