"""The Detectron2 backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_detectron2.backend import Detectron2Backend
from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Detectron2Backend()


@pytest.fixture(scope="module")
def model_dir(shapes_dir: Path) -> Path:
    return shapes_dir


class TestDetectron2(BackendConformance):
    pass
