"""Models exported to ONNX, once a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from int8_layers import assert_each_as_defined, products, seven_bits

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_server.backend import Exports, Image, Model, ModelConfig
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


@pytest.fixture(scope="session")
def saturates() -> bool:
    """Whether this CPU's sums of two products end at 16 bits: those without VNNI."""
    found, exact, ended = products()
    assert (found == exact).all() or (found == ended).all()
    return not (found == exact).all()


@pytest.fixture
def assert_as_defined(saturates: bool, tmp_path: Path) -> Callable[[Path, Image], None]:
    """Asserts that each layer of the model in a folder makes what the operators in its file say.

    Where a CPU saturates, of weights of seven bits, with which no two products reach the end.
    """

    def check(folder: Path, image: Image) -> None:
        if saturates:
            folder = seven_bits(folder, tmp_path / "seven bits" / folder.name)
        assert_each_as_defined(folder, image)

    return check
