"""Tests for engines: a reference in plain NumPy, and the promises every engine must keep."""

import pytest

# Before the import, so that failed assertions show what was compared.
pytest.register_assert_rewrite(
    *(f"maskrcnn_network.testing.{kind}_checks" for kind in ("output", "session", "opening"))
)

from maskrcnn_network.testing.conformance import EngineConformance  # noqa: E402
from maskrcnn_network.testing.fake import FakeEngine  # noqa: E402

__all__ = ["EngineConformance", "FakeEngine"]
