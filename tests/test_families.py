"""Each family's models, through every command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import thin
from matterport_small import CONFIG, small_layers
from matterport_weights import write
from mmdetection_files import save
from typer.testing import CliRunner

from maskrcnn_handlers.cli.main import program
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_server.hosting.startup import open_model
from maskrcnn_server.plugins import installed

ROOT = Path(__file__).parents[1]
THIN = ROOT / "tests/golden/thin"
PAGE = (ROOT / "docs/which_backend.md").read_text()
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## What each backend can do\n")[2].split("\n## ")[0].splitlines()
    if line.startswith("|")
]
COMMANDS = [
    *("`doctor`, `predict`, `evaluate`", "`convert --to`", "`export --format`"),
    "`calibrate`, and `int8` when serving",
]


def mmdetection(folder: Path) -> None:
    file = THIN / "mmdetection-fpn.npz"
    save(folder / "epoch_12.pth", thin.weights(file), thin.config(file))


def matterport(folder: Path) -> None:
    write(folder / "mask_rcnn_small_0003.h5", small_layers())
    (folder / "config.yaml").write_text(CONFIG)


def with_arrays(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        file = THIN / f"{kind}.npz"
        np.savez(folder / "model.npz", allow_pickle=False, **thin.weights(file))
        (folder / "config.yaml").write_text(thin.config(file))

    return make


FAMILIES = {
    "mmdetection": mmdetection,
    "matterport": matterport,
    "torchvision": with_arrays("torchvision-anchors"),
    "detectron2": with_arrays("detectron2-fpn"),
}


def run(*arguments: str | Path) -> str:
    """What a command says in one line; it must succeed."""
    done = CliRunner().invoke(program(installed()), [str(one) for one in arguments])
    assert done.exit_code == 0, repr(done.exception) + done.output
    return " ".join(done.output.split())


def found(folder: Path, image: Image) -> np.ndarray:
    """The scores that a served model would find."""
    model = open_model(installed(), environment.read(model=str(folder)))
    (answer,) = model.predict([image], PredictOptions(score_threshold=0.05))
    model.close()
    return answer.scores


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_every_command_works(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = tmp_path / "model", tmp_path / "images"
    model.mkdir()
    images.mkdir()
    FAMILIES[family](model)
    with PIL.Image.open(ROOT / "tests/images/chelsea.png") as opened:
        picture = opened.convert("RGB").resize((113, 75))
    picture.save(images / "a.png")
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "height": 75, "width": 113}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [9, 9, 50, 50]}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))

    assert f"would be served by {family}" in run("doctor", model)
    predicted = tmp_path / "found.json"
    run("predict", images, "--model", model, "--json", predicted, "--score-threshold", "0.05")
    scores = [one["score"] for one in json.loads(predicted.read_text())]
    assert scores

    # The commands add measurements to these.
    backend: Any = installed().backends()[family]
    config = ModelConfig(model_dir=model)
    image = np.array(picture)
    backend.converters()["npz"](config, tmp_path / "converted")
    backend.exporters()["onnx"](config, tmp_path / "exported")
    backend.calibrate(config, [image], None, print)
    assert (tmp_path / "exported/model.onnx").stat().st_size
    np.testing.assert_allclose(found(tmp_path / "converted", image), scores, atol=1e-3)

    # In a server of its own, in integers.
    monkeypatch.setenv("MASKRCNN_PRECISION", "int8")
    assert f"would be served by {family}" in run("doctor", model)
    evaluated = run(
        *("evaluate", "--coco", tmp_path / "truth.json", "--images", images),
        *("--model", model, "--out", tmp_path / "figures"),
    )
    assert "boxes AP" in evaluated


def test_the_table_has_every_family_and_command() -> None:
    heading, _, *rows = TABLE
    assert heading == ["backend", *COMMANDS]
    backends = {path.parent.name for path in (ROOT / "backends").glob("*/Dockerfile")}
    assert {row[0].strip("`") for row in rows} == backends
    assert set(FAMILIES) < backends
