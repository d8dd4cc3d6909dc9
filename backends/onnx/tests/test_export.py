"""What the other backends export is one file that says of itself what a server has to know."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from maskrcnn_onnx import description
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Batches, Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_tensorpack.backend import TensorPackBackend

EXPORT = """
import sys
from pathlib import Path
from maskrcnn_server.backend import ModelConfig
from maskrcnn_tensorpack.backend import TensorPackBackend

config = ModelConfig(model_dir=Path(sys.argv[1]))
TensorPackBackend().exporters()["onnx"](config, Path(sys.argv[2]))
assert "tensorflow" not in sys.modules
"""
SERVE = """
import sys
from pathlib import Path
import numpy as np
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.backend import ModelConfig, PredictOptions

sys.modules["cv2"] = None
model = OnnxBackend().load(ModelConfig(model_dir=Path(sys.argv[1])))
(found,) = model.predict([np.load(sys.argv[2])], PredictOptions())
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"tensorflow", "onnx", "torch"}, loaded
print(len(found))
"""


def test_neither_export_nor_serving_needs_tensorflow(
    demo_dir: Path, photograph: Callable[[str], Image], tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    np.save(tmp_path / "image.npy", photograph("demo/golden/shapes-9500003.png"))
    arguments = [demo_dir, folder / "any.onnx"]
    subprocess.run([sys.executable, "-c", EXPORT, *arguments], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", SERVE, folder, tmp_path / "image.npy"],
        check=True,
        capture_output=True,
    )
    assert int(done.stdout) == 9


def test_the_file_describes_itself(onnx_dir: Path) -> None:
    assert [path.name for path in onnx_dir.iterdir()] == ["model.onnx"]
    (entry,) = onnx.load(onnx_dir / "model.onnx").metadata_props
    said = description.from_metadata(entry.value, onnx_dir)
    assert entry.key == description.KEY
    assert said.name == "model-6770"
    assert said.classes == ("circle", "square", "triangle", "star", "hexagon", "cross")
    assert (said.score_threshold, said.detections) == (0.5, 100)
    assert said.preprocessing.short_edge == 256
    assert said.source is not None
    assert said.source.backend == "tensorpack"
    assert len(said.source.sha256) == 64


def test_exports_of_the_same_weights_are_the_same_file(
    onnx_dir: Path, demo_dir: Path, exported: Callable[[str, Path, Path], Path], tmp_path: Path
) -> None:
    again = exported("tensorpack", demo_dir, tmp_path / "again")
    assert (again / "model.onnx").read_bytes() == (onnx_dir / "model.onnx").read_bytes()


def test_metadata_is_that_of_the_other_backend(onnx_model: Model, demo_dir: Path) -> None:
    other = TensorPackBackend().load(ModelConfig(model_dir=demo_dir)).metadata
    ours = onnx_model.metadata
    assert (ours.categories, ours.score_threshold) == (other.categories, other.score_threshold)
    assert ours.has_masks


def test_images_of_one_padded_size_are_computed_together(
    onnx_model: Model, photograph: Callable[[str], Image]
) -> None:
    """Of the same padded size, and not of the same size."""
    image = photograph("demo/golden/shapes-9500003.png")
    other = np.ascontiguousarray(image[:, ::-1][: image.shape[0] - 2])
    assert isinstance(onnx_model, Batches)
    sizes = {onnx_model.network_shape((i.shape[0], i.shape[1])) for i in (image, other)}
    assert len(sizes) == 1
    together = onnx_model.predict([image, other], PredictOptions())
    for found, one in zip(together, (image, other), strict=True):
        (alone,) = onnx_model.predict([one], PredictOptions())
        result = compare(found, alone, box_tolerance=0.01)
        assert len(result.pairs) == len(found) == len(alone)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"overrides": {"TEST.RESULTS_PER_IM": "7"}}, "CONFIG__TEST__RESULTS_PER_IM: ONNX models"),
        ({"engine": "original"}, "MASKRCNN_ENGINE=original"),
        ({"precision": "bfloat16"}, "MASKRCNN_PRECISION=bfloat16"),
    ],
)
def test_settings_that_do_not_apply_are_refused(
    config: dict[str, object], message: str, onnx_dir: Path
) -> None:
    wrong = ModelConfig(model_dir=onnx_dir, **config)  # type: ignore[arg-type]
    probe = OnnxBackend().probe(wrong)
    assert probe is not None
    assert message in probe.problems[0]
    with pytest.raises(InvalidSetting):
        OnnxBackend().load(wrong)


def test_another_architecture_than_expected_is_a_problem(onnx_dir: Path) -> None:
    with pytest.raises(InvalidModel, match="RESNET_ARCH is resnet50, but the file contains"):
        OnnxBackend().load(ModelConfig(model_dir=onnx_dir, resnet_arch="resnet50"))


def test_two_models_in_a_folder_are_one_too_many(onnx_dir: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).symlink_to(onnx_dir / "model.onnx")
    with pytest.raises(InvalidModel, match=r"must contain one file \*.onnx, found: a.onnx, b.onnx"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


def test_a_graph_that_the_engine_refuses_is_no_model(onnx_dir: Path, tmp_path: Path) -> None:
    """Here: an operator that nobody has."""
    model = onnx.load(onnx_dir / "model.onnx")
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match=r"OpenVINO cannot load the model: .*Nonsense"):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


@pytest.mark.parametrize("text", ["{", '{"format": 2}', json.dumps({"classes": []})])
def test_metadata_that_is_no_description_is_refused(
    text: str, onnx_dir: Path, tmp_path: Path
) -> None:
    model = onnx.load(onnx_dir / "model.onnx")
    model.metadata_props[0].value = text
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="metadata maskrcnn_server: "):
        OnnxBackend().load(ModelConfig(model_dir=tmp_path))


LISTENING = """
import sys
from pathlib import Path
import numpy as np
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.backend import ModelConfig, PredictOptions

def hook(event, given):
    if event.startswith(("socket.", "subprocess.")) or (event == "open" and "w" in str(given[1])):
        print(event, given)

sys.addaudithook(hook)
model = OnnxBackend().load(ModelConfig(model_dir=Path(sys.argv[1])))
model.predict([np.zeros((64, 64, 3), np.uint8)], PredictOptions())
"""


def test_engine_tells_nobody_that_it_is_used(onnx_dir: Path, tmp_path: Path) -> None:
    """OpenVINO has telemetry: a host on the internet, and files in the home directory."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LISTENING, str(onnx_dir)],
        env=os.environ | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert not list(home.iterdir())
