"""The Matterport backend keeps the promises of every backend."""

from pathlib import Path

import pytest

from maskrcnn_matterport.backend import MatterportBackend
from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return MatterportBackend()


@pytest.fixture(scope="module")
def model_dir(small_dir: Path) -> Path:
    return small_dir


class TestMatterport(BackendConformance):
    pass
