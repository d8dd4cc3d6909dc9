"""Clips as frames, and frames as clips."""

from __future__ import annotations

import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from maskrcnn_server.errors import InvalidImage, InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("av")

import av

from maskrcnn_video.clip import ClipWriter, opened

LIMIT = 10_000_000


def written(path: Path, frames: int = 20, size: tuple[int, int] = (60, 82)) -> Path:
    """A clip whose frames become brighter, of 10 frames a second."""
    with ClipWriter(path, size, Fraction(10)) as writer:
        for number in range(frames):
            writer.write(np.full((*size, 3), 10 * number, np.uint8))
    return path


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    with opened(written(tmp_path / "a.mp4"), LIMIT) as clip:
        assert (clip.size, float(clip.rate), clip.length) == ((60, 82), 10, 20)
        frames = list(clip.frames())
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(20) / 10)
    assert [frame.pixels.mean() for frame in frames] == pytest.approx(10 * np.arange(20), abs=3)


def test_odd_sides_are_kept_even(tmp_path: Path) -> None:
    with opened(written(tmp_path / "a.mp4", 2, (61, 83)), LIMIT) as clip:
        assert next(clip.frames()).pixels.shape == (62, 84, 3)


@pytest.mark.parametrize(("fps", "expected"), [(5, 10), (2.5, 5), (10, 20), (100, 20)])
def test_a_lower_frame_rate_takes_some_frames(tmp_path: Path, fps: float, expected: int) -> None:
    with opened(written(tmp_path / "a.mp4"), LIMIT, fps) as clip:
        frames = list(clip.frames())
        assert clip.length == len(frames) == expected
        assert float(clip.rate) == min(fps, 10)
    gaps = np.diff([frame.time_s for frame in frames])
    assert gaps == pytest.approx(np.full(expected - 1, 1 / min(fps, 10)), abs=0.051)


def test_frames_keep_their_times(tmp_path: Path) -> None:
    """They are those of the source, which begins at 7 s, and shows its last frame for 0.5 s."""
    times_s = [7, 7.04, 7.08, 8, 9]
    with ClipWriter(tmp_path / "a.mp4", (60, 82), Fraction(25)) as writer:
        for time_s in times_s:
            writer.write(np.full((60, 82, 3), 90, np.uint8), time_s, 0.5)
    with opened(tmp_path / "a.mp4", LIMIT) as clip:
        frames = list(clip.frames())
    assert [frame.time_s for frame in frames] == pytest.approx(np.array(times_s) - 7)
    assert frames[-1].duration_s == pytest.approx(0.5)
    assert float(clip.rate) == pytest.approx(5 / 2.5)


def test_a_lower_frame_rate_is_of_time_where_frames_last_different_times(tmp_path: Path) -> None:
    """Frame 24 is shown for 2 s; there are not more frames a second after it than before."""
    with ClipWriter(tmp_path / "a.mp4", (60, 82), Fraction(25)) as writer:
        for number in range(50):
            time_s = number / 25 + (2 if number >= 25 else 0)
            writer.write(np.full((60, 82, 3), 90, np.uint8), time_s, 0.04)
    with opened(tmp_path / "a.mp4", LIMIT, 5) as clip:
        times_s = [frame.time_s for frame in clip.frames()]
    before = [0, 0.2, 0.4, 0.6, 0.8, 0.96]
    assert times_s == pytest.approx([*before, 3, 3.2, 3.4, 3.6, 3.8])


@pytest.mark.parametrize("fps", [0, -1, 1e-9, float("nan")])
def test_a_frame_rate_of_nothing_is_refused(tmp_path: Path, fps: float) -> None:
    path = written(tmp_path / "a.mp4", 2)
    with pytest.raises(InvalidSetting, match="fps"), opened(path, LIMIT, fps):
        pass


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda pixels: pixels.transpose(1, 0, 2)),
        ((0, 0, 0, 0), np.array),
        ((0.7, 0.7, -0.7, 0.7), np.array),
    ],
    ids=["90", "180", "270", "mirrored", "upside down", "transposed", "nothing", "45"],
)
def test_frames_are_upright(
    tmp_path: Path, matrix: tuple[float, ...], turn: Callable[[Any], Any]
) -> None:
    """Phones turn and mirror clips by the matrix of the track's head (ISO 14496-12)."""
    shown = np.zeros((40, 60, 3), np.uint8)
    shown[4:12, 6:30] = 250
    with ClipWriter(tmp_path / "a.mp4", (40, 60), Fraction(10)) as writer:
        for _ in range(3):
            writer.write(shown)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[at : at + 20] = struct.pack(">5i", a, b, 0, c, d)
    (tmp_path / "a.mp4").write_bytes(data)
    with opened(tmp_path / "a.mp4", LIMIT) as clip:
        (first, *_) = clip.frames()
        assert clip.size == first.pixels.shape[:2]
    assert abs(first.pixels.astype(int) - turn(shown)).mean() < 5


def test_frames_are_as_large_as_the_first(tmp_path: Path) -> None:
    """As calls are recorded, whose size changes with the connection."""
    parts = []
    for size in ((48, 64), (96, 128)):
        file = BytesIO()
        with av.open(file, "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            shown = np.zeros((*size, 3), np.uint8)
            shown[: size[0] // 2] = 250
            for _ in range(3):
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(file.getvalue())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    with opened(tmp_path / "a.ts", LIMIT) as clip:
        frames = list(clip.frames())
    assert [frame.pixels.shape for frame in frames] == [(48, 64, 3)] * 6
    assert abs(frames[5].pixels.astype(int) - frames[0].pixels).mean() < 5
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(set(times_s))


def test_a_clip_without_frames_is_refused(tmp_path: Path) -> None:
    """It says that there is a track, in which nothing is."""
    path = written(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    at = data.index(b"stsz")
    counts = data[: at + 12] + bytes(4) + data[at + 16 :]
    for box, entry in ((b"stts", 8), (b"stsc", 8), (b"stco", 8)):
        start = counts.index(box) + entry
        counts = counts[:start] + bytes(4) + counts[start + 4 :]
    path.write_bytes(counts)
    with pytest.raises(InvalidImage), opened(path, LIMIT) as clip:
        assert list(clip.frames())


def test_texts_of_other_encodings_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"L\xe4vf").replace(b"isomiso2", b"iso\xffiso2"))
    with opened(path, LIMIT) as clip:
        assert len(list(clip.frames())) == 3


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", 3)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0", b"wxyz\0\0\0\0"))
    with pytest.raises(InvalidImage, match="codec"), opened(path, LIMIT):
        pass


def test_a_long_pause_is_written_as_an_hour(tmp_path: Path) -> None:
    """MP4 has 32 bits for it."""
    with ClipWriter(tmp_path / "a.mp4", (60, 82), Fraction(10)) as writer:
        for time_s in (0.0, 0.1, 1e9, 1e9 + 0.1):
            writer.write(np.zeros((60, 82, 3), np.uint8), time_s, 1e9)
    with opened(tmp_path / "a.mp4", LIMIT) as clip:
        times_s = [frame.time_s for frame in clip.frames()]
    assert times_s == pytest.approx([0, 0.1, 3600.1, 3600.2])


def test_a_file_that_cannot_be_written_is_named() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    with (
        pytest.raises(InvalidSetting, match="/dev/full: "),
        ClipWriter(Path("/dev/full"), (60, 82), Fraction(10)) as writer,
    ):
        writer.write(np.zeros((60, 82, 3), np.uint8))


def test_large_frames_are_refused(tmp_path: Path) -> None:
    limit = 60 * 82 - 1
    with (
        opened(written(tmp_path / "a.mp4"), limit) as clip,
        pytest.raises(InvalidImage, match="82 x 60"),
    ):
        next(clip.frames())


def test_frames_that_become_large_are_not_decoded(tmp_path: Path) -> None:
    """The decoder itself refuses them: the head of the clip may say anything."""
    with opened(written(tmp_path / "a.mp4", 2, (600, 820)), 100) as clip:
        clip.size = (1, 1)
        with pytest.raises(InvalidImage, match="frame 0: "):
            next(clip.frames())


def test_a_file_that_opens_others_is_refused(tmp_path: Path) -> None:
    other = written(tmp_path / "a.mp4")
    lists = {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n",
        "a.ffconcat": f"ffconcat version 1.0\nfile {other.name}\n",
        "no.mp4": "nothing",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidImage), opened(tmp_path / name, LIMIT):
            pass
    with pytest.raises(InvalidImage), opened(tmp_path / "absent.mp4", LIMIT):
        pass


def test_a_broken_clip_gives_what_it_has_or_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidImage), opened(path, LIMIT):
        pass
