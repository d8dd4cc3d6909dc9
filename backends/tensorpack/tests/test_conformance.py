"""The TensorPack backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend
from maskrcnn_tensorpack.backend import TensorPackBackend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return TensorPackBackend()


@pytest.fixture(scope="module")
def model_dir(demo_dir: Path) -> Path:
    return demo_dir


class TestTensorPack(BackendConformance):
    pass
