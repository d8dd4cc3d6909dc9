"""Animated images as clips."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from maskrcnn_server.errors import ImageTooLarge, InvalidImage

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("av")

from maskrcnn_video import animations
from maskrcnn_video.animations import animated
from maskrcnn_video.clip import opened

LIMIT = 1_000_000
SIZE = 40, 60
DURATIONS_MS = [40, 500, 40, 1000, 0, 10]
SECONDS = [0.04, 0.5, 0.04, 1.0, 0.1, 0.1]
"""What browsers make of these durations."""
FORMATS: dict[str, dict[str, Any]] = {"GIF": {"disposal": 2}, "WEBP": {"lossless": True}, "PNG": {}}


def frame(number: int) -> PIL.Image.Image:
    """A red square on a blue ground, further to the right in each frame."""
    pixels = np.full((*SIZE, 3), (0, 0, 90), np.uint8)
    pixels[5:15, 6 * number : 6 * number + 8] = (250, 0, 0)
    return PIL.Image.fromarray(pixels)


def animation(form: str, count: int = len(DURATIONS_MS), **options: Any) -> bytes:
    first, *others = map(frame, range(count))
    file = BytesIO()
    given = {"duration": DURATIONS_MS[:count], **FORMATS[form], **options}
    first.save(file, form, save_all=True, append_images=others, **given)
    return file.getvalue()


def gif(*frames: tuple[int, int, int, int], screen: tuple[int, int] = (8, 6)) -> bytes:
    """A GIF by its blocks: x, y, width and height of each frame."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes([255, 0, 0, 0, 0, 255])
    cleared = b"!\xf9\x04\x08" + bytes(4)
    shown = [b"," + struct.pack("<4HB", *one, 0) + b"\x02\x02\x44\x01\x00" for one in frames]
    return head + b"".join(cleared + one for one in shown) + b";"


@pytest.mark.parametrize("form", FORMATS)
def test_frames_have_their_own_durations(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.bin").write_bytes(animation(form))
    with opened(tmp_path / "a.bin", LIMIT) as clip:
        frames = list(clip.frames())
        assert (clip.size, clip.length) == (SIZE, 6)
    assert [one.duration_s for one in frames] == pytest.approx(SECONDS)
    assert [one.time_s for one in frames] == pytest.approx(np.cumsum([0, *SECONDS[:-1]]))
    assert float(clip.rate) == pytest.approx(6 / sum(SECONDS), rel=1e-3)


@pytest.mark.parametrize("form", FORMATS)
def test_frames_are_composed(form: str) -> None:
    """Files hold only what changes from frame to frame."""
    with animated(animation(form), LIMIT) as clip:
        for number, one in enumerate(clip.frames()):
            np.testing.assert_allclose(one.pixels, np.asarray(frame(number)), atol=8)


@pytest.mark.parametrize(
    ("fps", "times_s"), [(3, [0, 0.04, 0.58, 1.58]), (1, [0, 0.58]), (0.5, [0])]
)
def test_a_lower_frame_rate_takes_what_is_shown_then(fps: float, times_s: list[float]) -> None:
    with animated(animation("WEBP"), LIMIT, fps) as clip:
        assert [one.time_s for one in clip.frames()] == pytest.approx(times_s)


def test_a_default_image_is_no_frame() -> None:
    with animated(animation("PNG", 4, default_image=True, duration=50), LIMIT) as clip:
        frames = list(clip.frames())
    assert [one.duration_s for one in frames] == [0.05] * 3
    np.testing.assert_array_equal(frames[0].pixels, np.asarray(frame(1)))


def test_transparency_is_dropped() -> None:
    layers = []
    for number in range(3):
        layer = frame(number).convert("RGBA")
        layer.putalpha(128)
        layers.append(layer)
    file = BytesIO()
    layers[0].save(file, "WEBP", save_all=True, append_images=layers[1:], lossless=True, exact=True)
    with animated(file.getvalue(), LIMIT) as clip:
        assert {one.pixels.shape for one in clip.frames()} == {(*SIZE, 3)}


@pytest.mark.parametrize("form", FORMATS)
def test_one_image_is_no_clip(form: str) -> None:
    file = BytesIO()
    frame(0).save(file, form)
    with pytest.raises(InvalidImage, match="one frame"), animated(file.getvalue(), LIMIT):
        pass


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_one_is_refused(form: str, kept: float) -> None:
    data = animation(form)
    with pytest.raises(InvalidImage), animated(data[: int(len(data) * kept)], LIMIT) as clip:
        assert len(list(clip.frames())) == 6, "all of it is there"


def test_many_frames_are_refused() -> None:
    many = gif(*[(0, 0, 1, 1)] * (animations.MAX_FRAMES + 1))
    with pytest.raises(InvalidImage, match="10001 frames"), animated(many, LIMIT):
        pass
    with (
        pytest.raises(InvalidImage, match="14400 pixels together"),
        animated(animation("GIF"), LIMIT, max_all_pixels=14_399),
    ):
        pass
    with animated(animation("GIF"), LIMIT, max_all_pixels=14_400) as clip:
        assert clip.length == 6


@pytest.mark.parametrize(
    "data",
    [
        gif((0, 0, 20_000, 10_000), (0, 0, 1, 1)),
        gif((0, 0, 1, 1), (0, 0, 20_000, 10_000)),
        gif((0, 0, 1, 1), (0, 0, 1, 1), screen=(20_000, 10_000)),
    ],
    ids=["first frame", "second frame", "screen"],
)
def test_large_frames_are_refused_by_their_headers(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="20000 x 10000"), animated(data, LIMIT):
        pass


def test_frames_beyond_the_screen_make_all_frames_larger() -> None:
    """Pillow is the oracle; its frames must be of one size here."""
    files = []
    for size in ((8, 6), (20, 10)):
        file = BytesIO()
        PIL.Image.new("L", size, 90).save(file, "GIF")
        files.append(file.getvalue())
    start = 13 + (3 << (files[1][10] & 7) + 1 if files[1][10] & 128 else 0)
    with animated(files[0][:-1] + files[1][start:], LIMIT) as clip:
        assert clip.size == (10, 20)
        assert [one.pixels.shape for one in clip.frames()] == [(10, 20, 3)] * 2


def test_a_frame_lasts_an_hour_at_most() -> None:
    """The mean of the durations tells the frame rate. A WebP may say four hours and a half."""
    first, *others = map(frame, range(3))
    file = BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=others, duration=16_000_000)
    with animated(file.getvalue(), LIMIT) as clip:
        assert [one.duration_s for one in clip.frames()] == [3600] * 3
        assert float(clip.rate) == pytest.approx(1 / 3600, rel=1e-3)
