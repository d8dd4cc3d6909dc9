"""Models exported to ONNX, once a session."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from numpy.typing import NDArray

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_onnx.session import Feed
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Exports, Image, Model, ModelConfig, PredictOptions
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_torchvision.backend import TorchvisionBackend

BACKENDS = {
    "aws_samples": AwsSamplesBackend,
    "detectron2": Detectron2Backend,
    "tensorpack": TensorPackBackend,
    "torchvision": TorchvisionBackend,
}


@pytest.fixture(scope="session")
def exported() -> Callable[[str, Path, Path], Path]:
    """Exports the model in a folder, of a framework, to another folder."""

    def export(framework: str, model_dir: Path, target: Path) -> Path:
        backend = BACKENDS[framework]()
        assert isinstance(backend, Exports)
        backend.exporters()["onnx"](ModelConfig(model_dir=model_dir), target)
        return target

    return export


@pytest.fixture(scope="session")
def onnx_dir(
    demo_dir: Path,
    exported: Callable[[str, Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The bundled demo in ONNX."""
    return exported("tensorpack", demo_dir, tmp_path_factory.mktemp("onnx") / "demo")


@pytest.fixture(scope="session")
def onnx_model(onnx_dir: Path) -> Iterator[Model]:
    model = OnnxBackend().load(ModelConfig(model_dir=onnx_dir))
    yield model
    model.close()


class Plain:
    """ONNX Runtime, told to optimise nothing: every node as ONNX defines it."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(path, options)

    def run(self, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        values: list[NDArray[Any]] = self._session.run(list(outputs), dict(feed))
        return values


@pytest.fixture(scope="session")
def assert_as_defined() -> Callable[[Path, Image], None]:
    """Asserts that the model in a folder finds what the operators in its file say."""

    def check(folder: Path, image: Image) -> None:
        model = OnnxBackend().load(ModelConfig(model_dir=folder))
        (file,) = folder.glob("*.onnx")
        plain = model.computed_by(Plain(file))
        (ours,), (theirs,) = (m.predict([image], PredictOptions()) for m in (model, plain))
        assert len(ours) > 0
        result = compare(ours, theirs, box_tolerance=0.1)
        assert not result.missing + result.surplus
        assert result.score_differences.max() < 0.001
        assert result.mask_ious.min() > 0.99

    return check
