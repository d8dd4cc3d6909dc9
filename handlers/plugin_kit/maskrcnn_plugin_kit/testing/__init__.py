"""Kit for testing plugins: a fake backend, and a conformance suite for backends."""

import pytest

# Before their import: then a failed assertion says what was compared.
pytest.register_assert_rewrite(
    *(
        f"maskrcnn_plugin_kit.testing.{kind}_checks"
        for kind in ("plugin", "folder", "answer", "option", "conduct")
    )
)

from maskrcnn_plugin_kit.testing.conformance import BackendConformance  # noqa: E402
from maskrcnn_plugin_kit.testing.fake import FakeBackend  # noqa: E402

__all__ = ["BackendConformance", "FakeBackend"]
