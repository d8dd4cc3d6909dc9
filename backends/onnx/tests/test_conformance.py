"""The ONNX backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_onnx.backend import OnnxBackend
from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return OnnxBackend()


@pytest.fixture(scope="module")
def model_dir(onnx_dir: Path) -> Path:
    return onnx_dir


class TestOnnx(BackendConformance):
    pass
