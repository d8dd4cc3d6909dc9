"""For the tests of plugins: a backend that fakes, and the promises every backend must keep."""

import pytest

# Before its import: then a failed assertion says what was compared.
pytest.register_assert_rewrite("maskrcnn_server.testing.conformance")

from maskrcnn_server.testing.conformance import BackendConformance  # noqa: E402
from maskrcnn_server.testing.fake import FakeBackend  # noqa: E402

__all__ = ["BackendConformance", "FakeBackend"]
