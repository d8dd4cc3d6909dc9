"""The promises that every engine keeps, held against the reference in NumPy."""

from typing import Any, ClassVar

import pytest

from maskrcnn_network.testing import EngineConformance
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_torch.devices import usable_cuda
from maskrcnn_torch.plugin import TorchEngine
from maskrcnn_torch.session import TorchSession
from maskrcnn_torch.testing import FIXED

pytestmark = pytest.mark.full

PROBLEM = usable_cuda()


class FixedShapes(TorchEngine):
    """Computes on a CPU as it does on a GPU."""

    def open(self, network: Any, variables: Any, setup: Setup, /) -> TorchSession:
        session = super().open(network, variables, setup)
        session._ops.kernels = FIXED
        return session


class TestOnCPU(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return TorchEngine()


class TestFixedShapes(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return FixedShapes()


@pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))
class TestOnGPU(EngineConformance):
    device: ClassVar[str] = "cuda:0"

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return TorchEngine()
