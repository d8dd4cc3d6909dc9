"""The number of images that a bar counts to."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_predict.sources import count
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO


def test_images_of_this_machine_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", "below/b.jpg", "notes.txt"):
        (tmp_path / name).touch()
    places = [str(tmp_path), str(tmp_path / "a.png")]
    assert count(places) == 2
    assert count(places, lambda name: name.endswith("png")) == 1
    assert count(places, is_done=lambda source: source.name.endswith("png")) == 1


@pytest.mark.parametrize("place", ["s3://bucket/images", "@list.txt"])
def test_images_that_must_be_listed_first_are_not_counted(place: str) -> None:
    assert count(["a.png", place]) is None


@pytest.mark.full
def test_a_bar_says_how_many_of_how_many_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    images = sorted(map(str, (DEMO / "images").glob("*.png")))[:2]
    arguments = ["predict", *images, "--model", str(DEMO / "model")]
    output = CliRunner().invoke(program(Plugins()), arguments).output
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", output)
    assert re.search(r"predicting .* 2/2 \d:\d\d:\d\d \d:\d\d:\d\d", plain)
