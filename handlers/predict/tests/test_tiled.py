"""`predict --tile`: large images, put together from tiles."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_predict import local
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.plugins import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SQUARES = ((20, 30, 40), (70, 110, 130), (230, 10, 20))
"""Top, left and side of a red, a green and a blue square; the second is larger than a tile."""


@pytest.fixture
def image(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Squares on black."""
    pixels = np.zeros((300, 260, 3), np.uint8)
    for channel, (y, x, side) in enumerate(SQUARES):
        pixels[y : y + side, x : x + side, channel] = 255
    path = tmp_path / "field.png"
    path.write_bytes(encode(pixels))
    return path


def run(*flags: str) -> Result:
    return CliRunner().invoke(program(installed()), ["predict", *flags])


@pytest.mark.parametrize("tile", ["96", "120x90"])
def test_every_square_is_found_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, image: Path, tile: str
) -> None:
    model = FakeBackend().load(ModelConfig(model_dir=tmp_path))
    monkeypatch.setattr(local, "open_model", lambda *_: model)
    out = tmp_path / "found.json"
    flags = ("--tile", tile, "--overlap", "0.3", "--json", str(out), "--out", str(tmp_path / "d"))
    done = run(str(image), "--model", str(tmp_path), *flags)
    assert done.exit_code == 0, done.output
    found = {each["category_name"]: each for each in json.loads(out.read_text())}
    assert len(found) == 3
    for name, (y, x, side) in zip(("red", "green", "blue"), SQUARES, strict=True):
        assert found[name]["bbox"] == [x, y, side, side]
        assert found[name]["area"] == side * side
        assert found[name]["segmentation"]["size"] == [300, 260]
    assert len(list((tmp_path / "d").glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--overlap", "0.2"], "--tile"),
        (["--overview"], "--tile"),
        (["--tile", "much"], "--tile: such as"),
        (["--tile", "64", "--overlap", "0.99"], "--overlap: 0 to 0.8"),
    ],
)
def test_flags_are_checked_before_a_model_is_loaded(
    image: Path, flags: list[str], said: str
) -> None:
    done = run(str(image), "--model", "no-such", *flags)
    assert done.exit_code != 0
    assert said in f"{done.exception} {done.output}"


def test_without_the_distribution_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, image: Path
) -> None:
    monkeypatch.setitem(sys.modules, "maskrcnn_tiles", None)
    done = run(str(image), "--model", "no-such", "--tile", "64")
    assert "pip install maskrcnn-tiles" in f"{done.exception} {done.output}"
