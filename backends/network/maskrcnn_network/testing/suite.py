"""The whole suite, for an engine that a plugin of pytest gives as the fixture `engine`."""

from maskrcnn_network.testing.conformance import EngineConformance


class TestEngine(EngineConformance):
    """The promises of every engine."""
