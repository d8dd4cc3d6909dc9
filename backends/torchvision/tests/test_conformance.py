"""The Torchvision backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend
from maskrcnn_torchvision.backend import TorchvisionBackend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return TorchvisionBackend()


@pytest.fixture(scope="module")
def model_dir(shapes_dir: Path) -> Path:
    return shapes_dir


class TestTorchvision(BackendConformance):
    pass
