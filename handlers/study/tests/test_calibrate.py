"""`maskrcnn-server calibrate`, and a server in 8-bit integers."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_predict.child import served
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

app = program(Plugins())

PICTURE = Path(__file__).parents[3] / "tests/demo/golden/shapes-9500003.png"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO / "model", tmp_path / "model"))


def test_a_calibrated_model_is_served_in_integers(model: Path) -> None:
    arguments = ["calibrate", str(model), str(DEMO / "images"), "--all"]
    done = CliRunner().invoke(app, [*arguments, "--backend", "tensorpack"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "serve it with MASKRCNN_PRECISION=int8" in done.output
    assert json.loads((model / "int8.json").read_text())["images"] == len(
        list((DEMO / "images").iterdir())
    )
    with served(model, "tensorpack", {"MASKRCNN_PRECISION": "int8"}) as url:
        request = urllib.request.Request(
            f"{url}/invocations", PICTURE.read_bytes(), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request) as reply:
            assert len(json.load(reply)["annotations"]) >= 8
        with urllib.request.urlopen(f"{url}/ping") as reply:
            said = json.load(reply)
    assert (said["engine"], said["device"]) == ("openvino", "cpu")


def test_an_archive_is_not_calibrated(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "model.tar.gz"), str(tmp_path)])
    assert isinstance(done.exception, InvalidModel)
    assert "unpack an archive first" in done.exception.message


def test_a_folder_without_images_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    arguments = ["calibrate", str(model), str(tmp_path / "none"), "--backend", "tensorpack"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InvalidSetting)
    assert "there are no pictures in it" in done.exception.message
