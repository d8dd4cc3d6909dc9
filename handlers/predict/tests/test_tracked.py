"""`predict --track`: clips, from end to end."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import local
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.plugins import installed

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("av")
pytest.importorskip("trackers")

from maskrcnn_video.clip import ClipWriter, opened


def run(*flags: str) -> Result:
    return CliRunner().invoke(program(installed()), ["predict", *flags])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A red and a blue square that move in 12 frames."""
    path = tmp_path / "clip.mp4"
    with ClipWriter(path, (120, 160), Fraction(10)) as writer:
        for number in range(12):
            pixels = np.zeros((120, 160, 3), np.uint8)
            pixels[20:60, 10 + 4 * number : 50 + 4 * number, 0] = 255
            pixels[70:110, 100 - 4 * number : 140 - 4 * number, 2] = 255
            writer.write(pixels)
    return path


def test_a_clip_is_followed_drawn_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: Path
) -> None:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    out, found, text = tmp_path / "drawn.mp4", tmp_path / "tracks.json", tmp_path / "tracks.txt"
    files = ("--out", str(out), "--json", str(found), "--mots", str(text))
    done = run(str(clip), "--track", "--model", str(tmp_path), *files)
    assert done.exit_code == 0, done.output
    assert "12 frames, 2 tracks" in done.output
    content = json.loads(found.read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    assert {names[one["category_id"]] for one in content["annotations"]} == {"red", "blue"}
    seen = [sum(box is not None for box in one["bboxes"]) for one in content["annotations"]]
    assert min(seen) >= 11
    assert len(text.read_text().splitlines()) == sum(seen)
    with opened(out, 10**6) as written:
        assert (written.size, written.length) == ((120, 160), 12)
    done = run(str(clip), "--track", "--fps", "5", "--model", str(tmp_path))
    assert "6 frames" in done.output


def test_an_animated_image_is_a_clip_with_times_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    shown = []
    for number in range(8):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[20:60, 10 + 4 * number : 50 + 4 * number, 0] = 255
        shown.append(PIL.Image.fromarray(pixels))
    path, out, found = tmp_path / "a.gif", tmp_path / "drawn.mp4", tmp_path / "tracks.json"
    durations = [50, 50, 700, 50, 50, 50, 2000, 300]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=durations)
    files = ("--out", str(out), "--json", str(found))
    done = run(str(path), "--track", "--model", str(tmp_path), *files)
    assert done.exit_code == 0, done.output
    content = json.loads(found.read_text())
    times_s = np.cumsum([0, *durations[:-1]]) / 1000
    assert content["videos"][0]["timestamps"] == pytest.approx(times_s)
    (track,) = content["annotations"]
    assert None not in track["bboxes"]
    with opened(out, 10**6) as written:
        frames = list(written.frames())
    assert [one.time_s for one in frames] == pytest.approx(times_s, abs=0.001)
    assert frames[-1].duration_s == pytest.approx(0.3, abs=0.001)


def test_a_picture_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (40, 30)).save(path)
    done = run(str(path), "--track", "--model", str(tmp_path))
    assert done.exit_code != 0
    assert "one frame, no clip" in f"{done.exception} {done.output}"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fps", "3"], "--fps and --mots need --track"),
        (["--workers", "3"], "need --ray"),
        (["--track", "other.mp4"], "one clip at a time"),
        (["--track", "--json", "s3://a/b.json"], "a file of this machine"),
    ],
)
def test_flags_are_checked(clip: Path, flags: list[str], said: str) -> None:
    done = run(str(clip), *flags)
    assert done.exit_code != 0
    assert said in f"{done.exception} {done.output}"


@pytest.mark.parametrize("option", ["--out", "--json", "--mots"])
def test_the_clip_itself_is_never_written_over(clip: Path, option: str) -> None:
    before = clip.read_bytes()
    done = run(str(clip), "--track", option, str(clip.parent / "." / "x" / ".." / clip.name))
    assert f"{option} " in f"{done.exception} {done.output}"
    assert "it is read" in f"{done.exception} {done.output}"
    assert clip.read_bytes() == before


def test_without_the_distribution_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    monkeypatch.setitem(sys.modules, "maskrcnn_video", None)
    done = run(str(clip), "--track")
    assert "pip install 'maskrcnn-video[track]'" in f"{done.exception} {done.output}"
