"""What a command shows while people wait, and what it checks before they do."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.errors import InvalidImage
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program(Plugins()), list(map(str, arguments)))


def test_no_model_is_loaded_to_compare_what_is_no_image(tmp_path: Path) -> None:
    """The model is broken: loading it would be another error."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.npz").write_bytes(b"no archive")
    model, text = tmp_path / "model", tmp_path / "text.jpg"
    text.write_text("no image")
    done = run("compare", model, model, text, tmp_path / "absent.jpg", "--out", tmp_path / "out")
    assert isinstance(done.exception, InvalidImage)
    assert str(done.exception) == "no image was compared; 2 failed"


@pytest.mark.full
@pytest.mark.parametrize("command", ["compare", "convert"])
def test_a_bar_says_how_many_of_how_many(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    model, images = DEMO / "model", sorted((DEMO / "images").glob("*.png"))
    arguments: dict[str, tuple[str | Path, ...]] = {
        "compare": (model, model, *images, "--out", tmp_path / "out"),
        "convert": (model, tmp_path / "out"),
    }
    done = run(command, *arguments[command])
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", done.output)
    total = len(images)
    assert re.search(rf"comparing .* {total}/{total} \d:\d\d:\d\d \d:\d\d:\d\d", plain)
