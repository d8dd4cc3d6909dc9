"""The demo model exported by the command, as another program and this server take it."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.errors import InvalidImage, InvalidSetting
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

app = program(Plugins())

GOLDEN = Path(__file__).parents[3] / "tests/demo/golden"


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two to calibrate on, beside what is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("shapes-9500000.png", "shapes-9500003.png"):
        shutil.copyfile(GOLDEN / name, folder / name)
    (folder / "notes.txt").write_text("not to be read")
    return folder


def test_a_model_becomes_one_file(tmp_path: Path) -> None:
    done = export(
        DEMO / "model", tmp_path / "shapes.onnx", "--format", "onnx", "--backend", "tensorpack"
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "shapes.onnx").stat().st_size > 30e6


def test_int8_is_compared_with_float32(tmp_path: Path, pictures: Path) -> None:
    done = export(
        *(DEMO / "model", tmp_path / "out", "--format", "onnx", "--backend", "tensorpack"),
        *("--int8", "--calibrate", pictures, "--all"),
    )
    assert done.exit_code == 0, done.output
    assert "detections are the same in 2 sample pictures" in done.output
    assert (tmp_path / "out/model.onnx").stat().st_size < 12e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--int8"], "--int8 and --calibrate go together"),
        (["--calibrate", "pictures"], "--int8 and --calibrate go together"),
        (["--int8", "--calibrate", "nowhere"], "nowhere: no such folder"),
        (["--coco", "instances.json"], "--coco and --images go together"),
        (["--coco", "a.json", "--images", "b"], "go together, with --int8"),
    ],
)
def test_options_that_need_each_other_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = export(DEMO / "model", tmp_path / "out", "--format", "onnx", *arguments)
    assert isinstance(done.exception, InvalidSetting)
    assert message in done.exception.message


def test_int8_is_of_onnx_only(tmp_path: Path, pictures: Path) -> None:
    done = export(DEMO / "model", tmp_path / "out", "--int8", "--calibrate", pictures)
    assert isinstance(done.exception, InvalidSetting)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = export(
        *(DEMO / "model", tmp_path / "out", "--format", "onnx"),
        *("--int8", "--calibrate", tmp_path / "empty"),
    )
    assert isinstance(done.exception, InvalidSetting)
    assert "no pictures in it" in done.exception.message


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, pictures: Path) -> None:
    (pictures / "a.png").write_bytes(b"nothing")
    done = export(
        *(DEMO / "model", tmp_path / "out", "--format", "onnx"),
        *("--int8", "--calibrate", pictures),
    )
    assert isinstance(done.exception, InvalidImage)
    assert "a.png: " in done.exception.message


def test_an_unknown_format_is_named_with_the_known(tmp_path: Path) -> None:
    done = export(DEMO / "model", tmp_path / "out", "--format", "tflite", "--backend", "tensorpack")
    assert isinstance(done.exception, InvalidSetting)
    assert "--format tflite: installed backends write onnx, saved_model" in done.exception.message
