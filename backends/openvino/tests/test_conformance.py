"""The engine keeps what every engine promises."""

import pytest

from maskrcnn_network.testing import EngineConformance
from maskrcnn_openvino.plugin import OpenVinoEngine
from maskrcnn_server.engine import Engine


class TestOpenVino(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return OpenVinoEngine()
