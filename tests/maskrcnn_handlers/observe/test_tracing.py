"""Which tracer sends the spans of requests."""

from importlib.metadata import EntryPoint

import pytest

from maskrcnn_handlers.observe import tracing
from maskrcnn_server import settings as environment
from maskrcnn_server.plugins import Plugins

CORE = EntryPoint("core", "maskrcnn_handlers.plugin", "maskrcnn_server")


def test_without_a_tracer_the_server_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert tracing.opened(Plugins([CORE]), environment.read()) is None
    assert "pip install maskrcnn-opentelemetry" in caplog.text


def test_without_an_address_no_tracer_is_missed(caplog: pytest.LogCaptureFixture) -> None:
    assert tracing.opened(Plugins([CORE]), environment.read()) is None
    assert not caplog.records
