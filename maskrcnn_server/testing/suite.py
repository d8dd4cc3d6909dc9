"""The whole suite for the backend that the options of `maskrcnn_server.testing.plugin` name."""

from maskrcnn_server.testing.conformance import BackendConformance


class TestBackend(BackendConformance):
    """The promises of every backend."""
