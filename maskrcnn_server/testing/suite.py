"""The whole suite, for a backend that `maskrcnn_server.testing.plugin` is told of."""

from maskrcnn_server.testing.conformance import BackendConformance


class TestBackend(BackendConformance):
    """The promises of every backend."""
