"""The frames of animated images (GIF, WebP, PNG), composed by Pillow."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

from maskrcnn_client.errors import ImageRefused
from maskrcnn_client.images import Image, opened, rgb

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("GIF", "WEBP", "PNG")
"""Pillow's names of the formats that may be animated."""
MAX_FRAMES = 10_000
"""Number of frames at most."""

File: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes of a file."""


@overload
def unpacked(frames: Iterable[Image] | File) -> Iterable[Image]: ...
@overload
def unpacked(
    frames: Iterable[Image] | AsyncIterable[Image] | File,
) -> Iterable[Image] | AsyncIterable[Image]: ...
def unpacked(
    frames: Iterable[Image] | AsyncIterable[Image] | File,
) -> Iterable[Image] | AsyncIterable[Image]:
    """The frames of an animated image's file; any other frames as they are."""
    return animation(frames) if isinstance(frames, str | os.PathLike | bytes) else frames


def animation(file: File) -> Iterator[PIL.Image.Image]:
    """Each frame of an animated image, RGB.

    Raises ImageRefused for what cannot be read or has too many frames, OSError for a file that is
    not there, and NotInstalled without Pillow.
    """
    body = file if isinstance(file, bytes) else Path(file).read_bytes()
    with opened(body) as image:
        if image.format not in FORMATS:
            raise ImageRefused(f"{image.format} is no animated image: GIF, WebP and PNG are")
        if image.n_frames > MAX_FRAMES:
            raise ImageRefused(f"{image.n_frames} frames; at most {MAX_FRAMES} are read")
        # The first may be for programs without animations.
        first = int(getattr(image, "default_image", False))
        for number in range(first, image.n_frames):
            image.seek(number)
            image.load()
            yield rgb(image.copy())
