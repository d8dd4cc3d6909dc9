from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.checkpoints.checkpoint import TENSORFLOW
from maskrcnn_server.backend import Converts, ModelConfig
from maskrcnn_server.errors import InvalidModel
from maskrcnn_tensorpack.backend import TensorPackBackend


def convert(config: ModelConfig, target: Path, form: str) -> Path:
    backend = TensorPackBackend()
    assert isinstance(backend, Converts)
    backend.converters()[form](config, target)
    return target


@pytest.mark.parametrize("form", ["npz", "npz16", "checkpoint"])
def test_every_variable_is_written(demo_dir: Path, tmp_path: Path, form: str) -> None:
    """The demo's weights are float16 already, so that nothing is lost in any format."""
    folder = convert(ModelConfig(model_dir=demo_dir), tmp_path / "out", form)
    found, _ = TENSORFLOW.newest(folder)
    assert found.step == 6770
    written, original = (TENSORFLOW.open(TENSORFLOW.newest(d)[0].path) for d in (folder, demo_dir))
    assert written.shapes == original.shapes
    for variable in original.shapes:
        np.testing.assert_array_equal(written.read(variable), original.read(variable))


def test_half_precision_takes_half_the_room(demo_dir: Path, tmp_path: Path) -> None:
    config = ModelConfig(model_dir=demo_dir)
    sizes = {
        form: TENSORFLOW.newest(convert(config, tmp_path / form, form))[0].size
        for form in ("npz", "npz16")
    }
    assert sizes["npz16"] < 0.52 * sizes["npz"]


def test_configuration_comes_along_but_for_the_environment(demo_dir: Path, tmp_path: Path) -> None:
    """What stands in files, the training log included, is in one file; what is only said in this
    environment may be said again, or not."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "model-6770.npz").symlink_to(demo_dir / "model-6770.npz")
    logged = "{'PREPROC': {'MAX_SIZE': 352, 'TEST_SHORT_EDGE_SIZE': 300}}"
    (source / "log.log").write_text(f"Config: ------\n{logged}\n")
    (source / "config.yaml").write_text("PREPROC: {TEST_SHORT_EDGE_SIZE: 256}\n")
    (source / "classes.txt").write_text("circle\nsquare\ntriangle\nstar\nhexagon\ncross\n")
    said = {"TEST.RESULTS_PER_IM": "7"}
    config = ModelConfig(model_dir=source, overrides=said)
    folder = convert(config, tmp_path / "out", "npz")
    read = TensorPackBackend().read(ModelConfig(model_dir=folder))
    assert (read.config.short_edge, read.config.max_size) == (256, 352)
    assert read.config.detections == 100
    assert [category.name for category in read.categories][:2] == ["circle", "square"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "classes.txt",
        "config.yaml",
        "model-6770.npz",
    ]


def test_value_that_half_precision_cannot_hold_is_named(demo_dir: Path, tmp_path: Path) -> None:
    values = dict(np.load(demo_dir / "model-6770.npz"))
    values["rpn/conv0/b"] = values["rpn/conv0/b"].astype(np.float32) + 1e6
    np.savez(tmp_path / "model.npz", allow_pickle=False, **values)
    with pytest.raises(InvalidModel, match="rpn/conv0/b has values too large for float16"):
        convert(ModelConfig(model_dir=tmp_path), tmp_path / "half", "npz16")
