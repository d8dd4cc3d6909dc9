"""Frames: several with the server at a time, in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from maskrcnn_client import AsyncClient, Client, ImageRefused, Prediction, animations

Pixels = NDArray[np.uint8]


def coloured(size: int) -> Pixels:
    """A red square, as wide as `size` says."""
    pixels = np.zeros((40, 50, 3), np.uint8)
    pixels[2:12, 3 : 3 + size, 0] = 255
    return pixels


def widths(found: list[Prediction]) -> list[int]:
    return [int(one.boxes[0, 2] - one.boxes[0, 0]) for one in found]


def test_frames_keep_their_order_and_few_are_taken_ahead(streaming: str) -> None:
    taken = 0

    def frames() -> Iterator[Pixels]:
        nonlocal taken
        for size in range(1, 21):
            taken += 1
            yield coloured(size)

    with Client(streaming) as client:
        reading = client.frames(frames(), at_once=3)
        assert taken == 0
        found = [next(reading), next(reading)]
        assert taken == 4
        found += reading
    assert widths(found) == list(range(1, 21))


def test_coroutines_take_frames_of_either_kind(streaming: str) -> None:
    async def given() -> AsyncIterator[Pixels]:
        for size in range(1, 8):
            yield coloured(size)

    async def ask() -> tuple[list[Prediction], list[Prediction]]:
        async with AsyncClient(streaming) as client:
            plain = client.frames([coloured(size) for size in range(1, 8)], at_once=2)
            later = client.frames(given(), at_once=3)
            return [one async for one in plain], [one async for one in later]

    first, second = asyncio.run(ask())
    assert widths(first) == widths(second) == list(range(1, 8))


def test_a_frame_that_fails_ends_the_rest(streaming: str) -> None:
    frames: list[bytes | Pixels] = [coloured(1), coloured(2), b"no image", coloured(3)]
    found: list[Prediction] = []

    async def ask() -> None:
        async with AsyncClient(streaming) as later:
            async for one in later.frames(frames):
                found.append(one)

    with Client(streaming) as client, pytest.raises(ImageRefused):
        found.extend(client.frames(frames))
    with pytest.raises(ImageRefused):
        asyncio.run(ask())
    assert widths(found) == [1, 2, 1, 2]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animated_image_is_a_clip(streaming: str, tmp_path: Path, form: str) -> None:
    shown = [PIL.Image.fromarray(coloured(size)) for size in range(1, 8)]
    file = tmp_path / "a.bin"
    shown[0].save(file, form, save_all=True, append_images=shown[1:], lossless=True, duration=50)

    async def ask() -> list[Prediction]:
        async with AsyncClient(streaming) as client:
            return [one async for one in client.frames(file.read_bytes())]

    with Client(streaming) as client:
        assert widths(list(client.frames(file))) == list(range(1, 8))
        assert len(list(client.predict(file).boxes)) == 1
    assert widths(asyncio.run(ask())) == list(range(1, 8))


@pytest.mark.parametrize(
    ("data", "said"), [(b"no image", "not an image"), (b"BM", "image"), (b"", "image")]
)
def test_other_files_are_no_clips(streaming: str, data: bytes, said: str) -> None:
    with Client(streaming) as client, pytest.raises(ImageRefused, match=said):
        next(client.frames(data))


def test_a_photograph_and_many_frames_are_refused(
    monkeypatch: pytest.MonkeyPatch, streaming: str
) -> None:
    shown, files = [PIL.Image.fromarray(coloured(size)) for size in range(1, 5)], []
    for form, options in (("JPEG", {}), ("GIF", {"append_images": shown[1:]})):
        file = BytesIO()
        shown[0].save(file, form, **options)
        files.append(file.getvalue())
    monkeypatch.setattr(animations, "MAX_FRAMES", 3)
    with Client(streaming) as client:
        with pytest.raises(ImageRefused, match="JPEG is no animated image"):
            next(client.frames(files[0]))
        with pytest.raises(ImageRefused, match="4 frames; at most 3"):
            next(client.frames(files[1]))


@pytest.mark.parametrize("at_once", [0, 65])
def test_frames_at_once_have_limits(streaming: str, at_once: int) -> None:
    with Client(streaming) as client, pytest.raises(ValueError, match="1 to 64"):
        next(client.frames([], at_once=at_once))
