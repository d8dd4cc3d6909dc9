"""The demo in 8-bit integers, from a file beside its weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shapes import tally

from maskrcnn_network import calibration
from maskrcnn_server.backend import Calibrates, Image, LayerChange, ModelConfig
from maskrcnn_server.errors import InvalidModel
from maskrcnn_tensorpack.backend import TensorPackBackend

pytestmark = pytest.mark.full

PICTURES = [f"demo/golden/shapes-{seed}.png" for seed in range(9500000, 9500003)]


def unexpected(change: LayerChange) -> None:
    pytest.fail(f"{change.name} was measured")


@pytest.fixture(scope="module")
def samples(photograph: Callable[[str], Image]) -> list[Image]:
    return [photograph(path) for path in PICTURES]


@pytest.fixture(scope="module")
def calibrated(
    demo_dir: Path, samples: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    shutil.copytree(demo_dir, folder)
    backend = TensorPackBackend()
    assert isinstance(backend, Calibrates)
    config = ModelConfig(model_dir=folder)
    assert backend.calibrate(config, samples, None, unexpected) == folder / "int8.json"
    return folder


def test_what_was_drawn_is_found_as_before(
    calibrated: Path, photograph: Callable[[str], Image], test_data: Path
) -> None:
    before, after = (
        TensorPackBackend().load(ModelConfig(model_dir=calibrated, precision=precision))
        for precision in ("float32", "int8")
    )
    expected, found = (tally(model, photograph, test_data) for model in (before, after))
    assert found.drawn == expected.drawn
    assert found.hits >= expected.hits - 2
    assert found.found <= expected.found + 4


def test_the_model_says_that_it_computes_in_integers(calibrated: Path) -> None:
    model = TensorPackBackend().load(ModelConfig(model_dir=calibrated, precision="int8"))
    facts = model.metadata.facts
    model.close()
    assert facts["precision"] == "int8"
    assert facts["engine"] == "openvino"
    assert facts["calibrated on"] == "3 images"


def test_layers_with_few_channels_stay_in_float32(calibrated: Path) -> None:
    """conv0 has three channels, and the RPN's outputs are few."""
    ranges = json.loads((calibrated / "int8.json").read_text())["ranges"]
    assert not {"conv0", "rpn/class", "rpn/box", "fastrcnn/outputs/class"} & ranges.keys()
    assert len(ranges) > 25
    assert all(low <= high for low, high in ranges.values())


def test_the_file_goes_with_the_model(calibrated: Path) -> None:
    probe = TensorPackBackend().probe(ModelConfig(model_dir=calibrated))
    assert probe is not None
    assert calibrated / "int8.json" in probe.files


def test_without_the_file_int8_is_refused(demo_dir: Path) -> None:
    with pytest.raises(InvalidModel, match=r"maskrcnn-server calibrate"):
        TensorPackBackend().load(ModelConfig(model_dir=demo_dir, precision="int8"))


def test_the_file_of_other_weights_is_refused(calibrated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(calibrated, folder)
    (weights,) = folder.glob("*.npz")
    values = dict(np.load(weights))
    values["conv0/W"] = values["conv0/W"] * 2
    np.savez(weights, allow_pickle=False, **values)
    with pytest.raises(InvalidModel, match=r"made for other weights"):
        TensorPackBackend().load(ModelConfig(model_dir=folder, precision="int8"))


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"ranges": {"conv0": [0, NaN]}}'])
def test_a_damaged_file_is_refused(text: str, demo_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(demo_dir, folder)
    (folder / "int8.json").write_text(text)
    with pytest.raises(InvalidModel, match=r"int8.json: not a valid calibration"):
        TensorPackBackend().load(ModelConfig(model_dir=folder, precision="int8"))


def test_parts_that_change_too_much_stay_in_float32(
    demo_dir: Path, samples: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {"maskrcnn/fcn3": ["maskrcnn/fcn3"], "group0/block0": ["group0/block0/conv2"]}
    monkeypatch.setattr(calibration, "parts", lambda _: some)
    folder = tmp_path / "model"
    shutil.copytree(demo_dir, folder)
    changes: list[LayerChange] = []
    config = ModelConfig(model_dir=folder)
    TensorPackBackend().calibrate(config, samples[:1], 1.0, changes.append)
    assert [change.name for change in changes] == list(some)
    assert all(0 < change.share < 1 and not change.kept for change in changes)
    least, most = sorted(changes, key=lambda change: change.share)
    between = (least.share + most.share) / 2
    TensorPackBackend().calibrate(config, samples[:1], between, lambda _: None)
    written = json.loads((folder / "int8.json").read_text())
    assert written["kept"] == [most.name]
    assert list(written["ranges"]) == some[least.name]
    with pytest.raises(InvalidModel, match=r"every part of it changes more than 0\.0"):
        TensorPackBackend().calibrate(config, samples[:1], 0.0, lambda _: None)
