"""The engine keeps what every engine promises."""

import pytest

from maskrcnn_network.testing import EngineConformance
from maskrcnn_server.engine import Engine
from maskrcnn_torch.plugin import TorchEngine


class TestTorch(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return TorchEngine()
