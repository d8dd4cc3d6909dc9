"""For the tests of plugins: a backend that fakes, and the promises every backend must keep."""

from maskrcnn_server.testing.conformance import BackendConformance
from maskrcnn_server.testing.fake import FakeBackend

__all__ = ["BackendConformance", "FakeBackend"]
