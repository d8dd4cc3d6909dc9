"""The demo model converted by the command, and what that cost."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskrcnn_handlers.cli.main import program
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.plugins import Plugins
from maskrcnn_tensorpack.plugin import DEMO

pytestmark = pytest.mark.full

app = program(Plugins())

DATA = Path(__file__).parents[3] / "tests/demo/val200"


def convert(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of the first twenty pictures."""
    truth = json.loads((DATA / "instances.json").read_text())
    truth["images"] = truth["images"][:20]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in ids]
    path = tmp_path_factory.mktemp("coco") / "instances.json"
    path.write_text(json.dumps(truth))
    return path


def test_change_in_average_precision_is_printed(tmp_path: Path, twenty: Path) -> None:
    """The demo's weights are float16 already: nothing changes, and the AP is a good one."""
    done = convert(
        *(DEMO / "model", tmp_path / "out", "--to", "npz16", "--backend", "tensorpack"),
        *("--coco", twenty, "--images", DATA / "images"),
    )
    assert done.exit_code == 0, done.output
    for kind in ("boxes", "masks"):
        (line,) = [line for line in done.output.splitlines() if f" {kind} " in line]
        before, after, change = (float(cell) for cell in line.split("│")[2:5])
        assert 0.6 < before == after
        assert change == 0
    assert (tmp_path / "out/model-6770.npz").exists()


def test_without_annotations_detections_are_compared(tmp_path: Path) -> None:
    done = convert(DEMO / "model", tmp_path / "out", "--backend", "tensorpack")
    assert done.exit_code == 0, done.output
    assert "22 of 22 detections are the same in 3 sample pictures" in done.output
    assert "the least IoU of masks is 1.0000" in done.output


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    done = convert(DEMO / "model", tmp_path, "--backend", "tensorpack")
    assert isinstance(done.exception, InvalidSetting)
    assert "is there already" in done.exception.message


def test_an_unknown_format_is_named_with_the_known(tmp_path: Path) -> None:
    done = convert(DEMO / "model", tmp_path / "out", "--to", "onnx", "--backend", "tensorpack")
    assert isinstance(done.exception, InvalidSetting)
    assert "--to onnx: installed backends write checkpoint, npz, npz16" in done.exception.message
    assert not (tmp_path / "out").exists()


def test_images_without_annotations_are_half_a_set(tmp_path: Path) -> None:
    done = convert(DEMO / "model", tmp_path / "out", "--images", DATA / "images")
    assert isinstance(done.exception, InvalidSetting)
    assert "--coco and --images go together" in done.exception.message


@pytest.mark.parametrize(
    ("annotations", "message"),
    [("{", "no COCO annotations"), ('{"images": [{"id": "x"}]}', "file_name is missing")],
    ids=["no JSON", "no file name"],
)
def test_broken_annotations_are_named(annotations: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(annotations)
    done = convert(
        *(DEMO / "model", tmp_path / "out", "--backend", "tensorpack"),
        *("--coco", path, "--images", DATA / "images"),
    )
    assert isinstance(done.exception, InvalidSetting)
    assert message in done.exception.message
    assert not (tmp_path / "out").exists()
