"""The engine keeps what every engine promises."""

import pytest

from maskrcnn_network.testing import EngineConformance
from maskrcnn_server.engine import Engine
from maskrcnn_tensorflow.plugin import TensorFlowEngine

pytestmark = pytest.mark.full


class TestTensorFlow(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return TensorFlowEngine()
