"""Animated images (GIF, WebP, PNG) as clips, by Pillow, which composes their frames."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from maskrcnn_handlers.request.arrays import check
from maskrcnn_handlers.request.images import Gif, media_type
from maskrcnn_server.errors import InvalidImage
from maskrcnn_video.frames import Chosen, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskrcnn_server.backend import Image
    from maskrcnn_server.rle import Size

TYPES = ("image/gif", "image/webp", "image/png")
"""Media types of images that may be animated."""
MAX_FRAMES = 10_000
"""Number of frames at most."""
MAX_BYTES = 1 << 27
"""Size of the file at most."""
MAX_ALL_PIXELS = 1 << 35
"""Number of pixels at most, of all frames together."""
SHORT_S = 0.01
"""Duration up to which browsers do not believe a frame."""
LONG_S = 3600.0
"""Longest duration of a frame in seconds."""
DEFAULT_S = 0.1
"""Duration of a frame that they do not believe, or that says none, in seconds."""


class Animation:
    """An animated image. Made by `animated`. Transparency is dropped, as images' is.

    Raises InvalidImage for what cannot be decoded, and InvalidSetting for the frame rate.
    """

    is_timed = False

    def __init__(self, image: Any, fps: float | None) -> None:
        self._image = image
        self._first = 1 if getattr(image, "default_image", False) else 0
        """Number of frames at the beginning that animations do not show."""
        durations = [_duration_s(image) for _ in self._each()]
        own = Fraction(len(durations) / sum(durations)).limit_denominator(10**6)
        self._chosen = Chosen(own, fps)
        self.rate = self._chosen.rate
        self.length: int | None = round(len(durations) * self.rate / own)
        # A frame may have made it larger.
        self.size: Size = (image.height, image.width)

    def frames(self) -> Iterator[Frame]:
        """The frames that are used, each with its own duration. Raises InvalidImage."""
        number, time_s = 0, 0.0
        for _ in self._each():
            duration_s = _duration_s(self._image)
            if self._chosen.has(time_s, time_s + duration_s):
                yield Frame(number, round(time_s, 6), _rgb(self._image), duration_s)
                number += 1
            time_s += duration_s

    def _each(self) -> Iterator[int]:
        """The number of each frame, when the image is this frame."""
        number = self._first
        try:
            for number in range(self._first, self._image.n_frames):
                self._image.seek(number)
                self._image.load()
                yield number
        except (InvalidImage, MemoryError):
            raise
        # Decoders raise almost anything on broken bytes.
        except Exception as error:
            raise InvalidImage(f"frame {number - self._first}: {error}") from error


def may_be_animated(start: bytes) -> bool:
    """Whether a file that begins with these bytes has a format of animated images."""
    return media_type(start) in TYPES


@contextmanager
def animated(
    data: bytes, max_pixels: int, fps: float | None = None, max_all_pixels: int = MAX_ALL_PIXELS
) -> Iterator[Animation]:
    """An animated image, of whose frames `fps` a second are used; None: all.

    Each frame has `max_pixels` at most, and all together `max_all_pixels`. Raises InvalidImage,
    also for one image that is not animated.
    """
    # Pillow has a limit of its own, below which it warns and above which ours would not count.
    PIL.Image.MAX_IMAGE_PIXELS = None
    file = BytesIO(data)
    try:
        is_gif = media_type(data) == "image/gif"
        others = ("WEBP", "PNG")
        image: Any = Gif(file, max_pixels) if is_gif else PIL.Image.open(file, formats=others)
        count = image.n_frames - bool(getattr(image, "default_image", False))
    except (InvalidImage, MemoryError):
        raise
    # Decoders raise almost anything on broken bytes.
    except Exception as error:
        raise InvalidImage(f"the animated image cannot be read: {error}") from error
    with image:
        _check(image, count, max_pixels, max_all_pixels)
        yield Animation(image, fps)


def _check(image: PIL.Image.Image, count: int, max_pixels: int, max_all_pixels: int) -> None:
    if count < 2:
        raise InvalidImage("it is an image with one frame, no clip")
    if count > MAX_FRAMES:
        raise InvalidImage(f"it has {count} frames; at most {MAX_FRAMES} are read")
    check(*image.size, max_pixels)
    pixels = count * image.width * image.height
    if pixels > max_all_pixels:
        raise InvalidImage(
            f"its {count} frames have {pixels} pixels together; at most {max_all_pixels} are read"
        )


def _duration_s(image: PIL.Image.Image) -> float:
    given = float(image.info.get("duration") or 0) / 1000
    return min(given, LONG_S) if given > SHORT_S else DEFAULT_S


def _rgb(image: PIL.Image.Image) -> Image:
    shown = image.copy()
    # Pillow warns of transparency that a palette cannot lose; it is dropped here in any case.
    shown.info.pop("transparency", None)
    return np.array(shown.convert("RGB"))
