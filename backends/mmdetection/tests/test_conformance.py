"""The MMDetection backend keeps the promises of every backend."""

import pytest

from maskrcnn_mmdetection.backend import MMDetectionBackend
from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return MMDetectionBackend()


class TestMMDetection(BackendConformance):
    pass
