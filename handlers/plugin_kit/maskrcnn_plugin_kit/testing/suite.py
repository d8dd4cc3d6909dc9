"""The whole suite, for the backend that the options of `pytest_plugin` name."""

from maskrcnn_plugin_kit.testing.conformance import BackendConformance


class TestBackend(BackendConformance):
    """The promises of every backend."""
