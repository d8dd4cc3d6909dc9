"""The backend keeps the promises of every backend."""

import pytest

from maskrcnn_plugin_kit.testing import BackendConformance
from maskrcnn_server.backend import Backend
from maskrcnn_tf_object_detection.backend import TFObjectDetectionBackend


@pytest.fixture(scope="module")
def backend() -> Backend:
    return TFObjectDetectionBackend()


class TestTFObjectDetection(BackendConformance):
    pass
